"""A forward pass that keeps for the way back what convolutions answered, and computes all else again when it is needed.

A normalisation, activation, sum or product of one element each is cheap to compute a second time and has no multiply-accumulates
of a layer; what is computed again is the same to the bit. So of `convolution, normalisation, activation` one tensor is
kept, not two or three.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.batchnorm import _BatchNorm

ACTIVATIONS = (
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.ReLU,
    nn.ReLU6,
    nn.Sigmoid,
    nn.SiLU,
    nn.Tanh,
)
FUNCTIONS = {
    F.elu,
    F.gelu,
    F.hardsigmoid,
    F.hardswish,
    F.hardtanh,
    F.leaky_relu,
    F.relu,
    F.relu6,
    F.silu,
    operator.add,
    operator.mul,
    torch.add,
    torch.mul,
    torch.relu,
    torch.sigmoid,
    torch.tanh,
}
IN_PLACE: dict[Any, Callable[..., Tensor]] = {
    F.elu_: F.elu,
    F.hardtanh_: F.hardtanh,
    F.leaky_relu_: F.leaky_relu,
    operator.iadd: operator.add,
    operator.imul: operator.mul,
    torch.relu_: torch.relu,
    torch.sigmoid_: torch.sigmoid,
    torch.tanh_: torch.tanh,
}
DEEPEST = 12
"""Of a chain of sums, as of residual blocks without a convolution on the shortcut: longer ones are cut by keeping a tensor."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tensor comes from others that are kept, or from their recipes."""

    function: Callable[..., Tensor]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    depth: int

    def value(self) -> Tensor:
        args: Any = fx.node.map_aggregate(self.args, _value)
        return self.function(*args, **self.kwargs)


@dataclass(slots=True)
class Saved:
    """What autograd asked to save."""

    content: Tensor | Recipe


class Recomputing(fx.Interpreter):
    """Runs a graph of functions out of place (`out_of_place`)."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self._recipes: dict[fx.Node, Recipe] = {}
        self._node: fx.Node | None = None
        self._saved: list[Saved] = []

    def run(self, *args: Any) -> Any:  # type: ignore[override]
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack):
                return super().run(*args)
        finally:
            # Autograd holds this object as long as any tensor of the graph; it must not hold all of them.
            self._recipes.clear()
            self._saved.clear()

    def run_node(self, n: fx.Node) -> Any:
        self._node, self._saved = n, []
        result = super().run_node(n)
        function = self._cheap(n)
        if function is not None and isinstance(result, Tensor):
            args: Any = fx.node.map_aggregate(n.args, self._ingredient)
            depth = 1 + max((arg.depth for arg in args if isinstance(arg, Recipe)), default=0)
            if depth <= DEEPEST:
                self._recipes[n] = Recipe(function, args, dict(n.kwargs), depth)
                for saved in self._saved:
                    if isinstance(saved.content, Tensor) and _same(saved.content, result):
                        saved.content = self._recipes[n]
        return result

    def _pack(self, x: Tensor) -> Saved:
        for node in self._node.all_input_nodes if self._node is not None else ():
            if node in self._recipes and _same(x, self.env[node]):
                return Saved(self._recipes[node])
        saved = Saved(x.detach())
        self._saved.append(saved)
        return saved

    def _ingredient(self, arg: Any) -> Any:
        if not isinstance(arg, fx.Node):
            return arg
        value = self._recipes.get(arg, self.env[arg])
        return value.detach() if isinstance(value, Tensor) else value

    def _cheap(self, n: fx.Node) -> Callable[..., Tensor] | None:
        if (
            n.op == "call_function"
            and n.target in FUNCTIONS
            and not any(isinstance(v, fx.Node) for v in n.kwargs.values())
        ):
            return n.target
        if n.op == "call_module":
            layer = self.submodules[str(n.target)]
            if isinstance(layer, ACTIVATIONS):
                return layer
            if isinstance(layer, _BatchNorm):
                return _normalisation(layer)
        return None


def out_of_place(graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
    """Replaces what works in place, in the graph and in modules, by what gives the same result as a new tensor."""
    order = {node: position for position, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        in_place = bool(node.kwargs.get("inplace", False))
        if node.op == "call_module" and getattr(modules[str(node.target)], "inplace", False):
            in_place = True
        elif node.op == "call_function" and node.target in IN_PLACE:
            in_place, node.target = True, IN_PLACE[node.target]
        elif node.op == "call_method" and node.target.endswith("_") and not node.target.endswith("__"):
            in_place, node.target = True, node.target[:-1]
        if in_place:
            if "inplace" in node.kwargs:
                node.kwargs = {**node.kwargs, "inplace": False}
            # Who reads the argument afterwards reads what it was changed to.
            node.all_input_nodes[0].replace_all_uses_with(node, lambda user, node=node: order[user] > order[node])
    for module in modules.values():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]


def _normalisation(layer: _BatchNorm) -> Callable[[Tensor], Tensor]:
    """By the statistics of the batch, or by running ones, which stay as they are."""
    by_batch = layer.training or layer.running_mean is None
    mean_C, var_C = (None, None) if by_batch else (layer.running_mean, layer.running_var)
    return lambda x: F.batch_norm(x, mean_C, var_C, layer.weight, layer.bias, by_batch, 0.0, layer.eps)


@torch.no_grad()
def _unpack(saved: Saved) -> Tensor:
    return saved.content.value() if isinstance(saved.content, Recipe) else saved.content


def _value(content: Any) -> Any:
    return content.value() if isinstance(content, Recipe) else content


def _same(one: Tensor, other: Any) -> bool:
    return bool(
        isinstance(other, Tensor)
        and one.untyped_storage()._cdata == other.untyped_storage()._cdata
        and one.storage_offset() == other.storage_offset()
        and one.shape == other.shape
        and one.stride() == other.stride()
    )
