"""Activations that an exporter took apart, put together again: runtimes execute them as one operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

_aten = torch.ops.aten
_SUMS = frozenset({_aten.add.Tensor, _aten.add.Scalar})
_PRODUCTS = frozenset({_aten.mul.Tensor, _aten.mul.Scalar})
_QUOTIENTS = frozenset({_aten.div.Tensor, _aten.div.Scalar})
_CLAMPS = frozenset({_aten.clamp.default, _aten.clamp_max.default, _aten.hardtanh.default})


def join_activations(module: fx.GraphModule) -> None:
    """Puts nn.ReLU6, nn.Hardsigmoid, nn.Hardswish and nn.SiLU in the place of their formulas, in place."""
    _Joiner(module).join()


class _Joiner:
    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module

    def join(self) -> None:
        for node in list(self._module.graph.nodes):
            found = self._relu6(node) or self._hard_sigmoid(node) or self._hard_swish(node) or self._product(node)
            if found is not None:
                self._replace(node, *found)
        self._module.graph.eliminate_dead_code()
        self._module.delete_all_unused_submodules()
        self._module.recompile()

    def _relu6(self, node: fx.Node) -> tuple[nn.Module, fx.Node] | None:
        """min(relu(x), 6)"""
        if node.op != "call_function" or node.target not in _CLAMPS:
            return None
        source = node.args[0]
        bounds = tuple(node.args[1:])
        fits = bounds in {(None, 6), (6,)} and self._is(source, nn.ReLU)
        return (nn.ReLU6(), self._read_by(source)) if fits else None

    def _hard_sigmoid(self, node: fx.Node) -> tuple[nn.Module, fx.Node] | None:
        """relu6(x + 3) / 6"""
        bounded = self._sixth(node)
        source = None if bounded is None else self._plus_three(bounded)
        return None if source is None else (nn.Hardsigmoid(), source)

    def _hard_swish(self, node: fx.Node) -> tuple[nn.Module, fx.Node] | None:
        """x relu6(x + 3) / 6"""
        product = self._sixth(node)
        for one, other in self._factors(product):
            if self._plus_three(other) is one:
                return nn.Hardswish(), one
        return None

    def _product(self, node: fx.Node) -> tuple[nn.Module, fx.Node] | None:
        """x sigmoid(x), x hardsigmoid(x)"""
        for one, other in self._factors(node):
            for gate, joined in ((nn.Sigmoid, nn.SiLU), (nn.Hardsigmoid, nn.Hardswish)):
                if self._is(other, gate) and self._read_by(other) is one:
                    return joined(), one
        return None

    def _sixth(self, node: Any) -> fx.Node | None:
        """x, where the node is x / 6."""
        if not isinstance(node, fx.Node) or len(node.args) != 2 or not isinstance(node.args[0], fx.Node):
            return None
        number = node.args[1]
        if not isinstance(number, (int, float)):
            return None
        divided = node.target in _QUOTIENTS and number == 6
        scaled = node.target in _PRODUCTS and math.isclose(number, 1 / 6, rel_tol=1e-6)
        return node.args[0] if divided or scaled else None

    def _plus_three(self, node: Any) -> fx.Node | None:
        """x, where the node is relu6(x + 3)."""
        if not self._is(node, nn.ReLU6):
            return None
        total = self._read_by(node)
        fits = total.target in _SUMS and len(total.args) == 2 and total.args[1] == 3
        return total.args[0] if fits and isinstance(total.args[0], fx.Node) else None

    def _factors(self, node: Any) -> Sequence[tuple[fx.Node, fx.Node]]:
        if not isinstance(node, fx.Node) or node.target not in _PRODUCTS:
            return ()
        one, other = node.args[:2]
        return ((one, other), (other, one)) if isinstance(one, fx.Node) and isinstance(other, fx.Node) else ()

    def _is(self, node: Any, kind: type[nn.Module]) -> bool:
        return (
            isinstance(node, fx.Node)
            and node.op == "call_module"
            and type(self._module.get_submodule(str(node.target))) is kind
        )

    def _read_by(self, node: Any) -> fx.Node:
        source: fx.Node = node.all_input_nodes[0]
        return source

    def _replace(self, node: fx.Node, activation: nn.Module, source: fx.Node) -> None:
        name, number = node.name, 0
        while hasattr(self._module, name):
            number += 1
            name = f"{node.name}_{number}"
        self._module.add_submodule(name, activation.eval())
        with self._module.graph.inserting_before(node):
            joined = self._module.graph.call_module(name, (source,))
        node.replace_all_uses_with(joined)
        self._module.graph.erase_node(node)
