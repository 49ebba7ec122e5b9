"""What the nodes of a graph module stand for, however they are called."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn

Shape = tuple[int, ...]


class GraphReading:
    """Answers about one graph module; read anew after the graph was changed."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._modules = dict(module.named_modules())
        self._calls = Counter(node.target for node in module.graph.nodes if node.op == "call_module")
        self._owners = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))

    def module_of(self, node: object) -> nn.Module | None:
        """What it calls, where it calls a submodule."""
        return self._modules[str(node.target)] if isinstance(node, fx.Node) and node.op == "call_module" else None

    def is_alone(self, node: fx.Node) -> bool:
        """Whether its submodule is called nowhere else and shares no parameter."""
        module = self.module_of(node)
        return (
            module is not None
            and self._calls[node.target] == 1
            and all(self._owners[id(parameter)] == 1 for parameter in module.parameters())
        )

    def is_relu(self, node: fx.Node) -> bool:
        return isinstance(self.module_of(node), nn.ReLU) or function_name(node) == "relu"

    def is_sum(self, node: object) -> bool:
        """Of two tensors, as they are."""
        return (
            isinstance(node, fx.Node)
            and function_name(node) in {"add", "iadd"}
            and len(node.args) == 2
            and not node.kwargs
            and all(isinstance(term, fx.Node) for term in node.args)
        )


def function_name(node: fx.Node) -> str:
    """Of the function or method it calls, without its overload and without the sign of one that works in place; "" for others."""
    if node.op not in {"call_function", "call_method"}:
        return ""
    target: Any = node.target
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet)).strip("_")


class _Shapes(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.of: dict[fx.Node, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.of[n] = tuple(value.shape)
        return value


def shapes_of(module: fx.GraphModule, input_shape: Shape) -> dict[fx.Node, Shape]:
    """Of every tensor at batch 1."""
    shapes = _Shapes(module)
    with torch.no_grad():
        shapes.run(torch.zeros(1, *input_shape))
    return shapes.of


def tidied(module: fx.GraphModule) -> None:
    """Removes what no output needs, from graph and module."""
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()
