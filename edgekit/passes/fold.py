"""`fold::batch_norm`."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from edgekit.passes.contract import Context, LayerRow, Needs, PassResult, Reduces

if TYPE_CHECKING:
    from edgekit.core.model import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldBatchNorm:
    """The network computes what it computed before, to rounding; normalisation that no layer can take over stays."""

    id: ClassVar[str] = "fold::batch_norm"
    summary: ClassVar[str] = "Folds batch normalisation into the convolution or linear layer beside it; exact."
    source: ClassVar[str] = "Jacob et al., arXiv 1712.05877, section 3.2"
    needs: ClassVar[Needs] = Needs.NOTHING
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.PARAMETERS,)

    def __call__(self, model: Model, context: Context) -> PassResult:  # noqa: ARG002
        from edgekit.networks.description import describe
        from edgekit.passes.batch_norm_folding import fold_batch_norms
        from edgekit.passes.graph_module import graph_of
        from edgekit.passes.masks import surviving

        module = copy.deepcopy(graph_of(model, self.id))
        folded, left = fold_batch_norms(module, model.input_shape)
        notes = tuple(f"{name} stays: {reason}." for name, reason in left.items())
        if not folded:
            return PassResult(model=model, modified=False, notes=notes)
        return PassResult(
            model=replace(
                model,
                module=module,
                operators=describe(module, model.input_shape).operators,
                masks=surviving(model.masks, module),
            ),
            modified=True,
            layers=tuple(LayerRow(layer=norm, cells={"folded into": layer}) for norm, layer in folded.items()),
            notes=notes,
        )
