"""`fold::reparameterise`."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from edgekit.passes.contract import Context, LayerRow, Needs, PassResult, Reduces

if TYPE_CHECKING:
    from edgekit.core.model import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class Reparameterise:
    """The network computes what it computed before, to rounding; branches are merged where that takes no more MACs."""

    id: ClassVar[str] = "fold::reparameterise"
    summary: ClassVar[str] = "Merges convolutions beside each other that are summed into one; exact."
    source: ClassVar[str] = "RepVGG, arXiv 2101.03697, section 3.3; RepGhost, arXiv 2211.06088"
    needs: ClassVar[Needs] = Needs.NOTHING
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.PARAMETERS, Reduces.MACS, Reduces.LATENCY)

    def __call__(self, model: Model, context: Context) -> PassResult:  # noqa: ARG002
        from edgekit.networks.description import describe
        from edgekit.passes.branch_merging import merge_branches
        from edgekit.passes.graph_module import graph_of
        from edgekit.passes.masks import surviving

        module = copy.deepcopy(graph_of(model, self.id))
        merged = merge_branches(module, model.input_shape)
        if not merged:
            return PassResult(model=model, modified=False, notes=("No branches of one tensor are summed.",))
        return PassResult(
            model=replace(
                model,
                module=module,
                operators=describe(module, model.input_shape).operators,
                masks=surviving(model.masks, module),
            ),
            modified=True,
            layers=tuple(LayerRow(layer=layer, cells={"merged": ", ".join(branches)}) for layer, branches in merged),
        )
