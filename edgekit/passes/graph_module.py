"""The form of module that passes on the graph take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.core.errors import ConversionError

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from edgekit.core.model import Model


def graph_of(model: Model, pass_id: str) -> GraphModule:
    """Its module. Raises ConversionError where that is not a graph module."""
    from torch.fx import GraphModule

    if not isinstance(model.module, GraphModule):
        raise ConversionError(
            f"{pass_id} got a {type(model.module).__name__}, expected a torch.fx.GraphModule",
            hint="trace it with torch.fx.symbolic_trace",
        )
    return model.module
