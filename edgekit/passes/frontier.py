"""Activations of many images as far into a network as they were asked for, while what lies ahead is still changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx


class Frontier:
    """Every node runs once. What lies before the furthest node asked for must not change any more."""

    def __init__(self, module: fx.GraphModule, x_batches: Sequence[Tensor]) -> None:
        self._module, self._x_batches = module, x_batches
        self._held: list[dict[fx.Node, Tensor]] = [{} for _ in x_batches]
        self._done: set[fx.Node] = set()

    def values(self, wanted: fx.Node) -> list[Tensor]:
        """What the node gives, batch by batch. Ask in execution order: what nobody ahead reads is forgotten."""
        with torch.no_grad():
            for node in self._module.graph.nodes:
                if node not in self._done:
                    self._run(node)
                if node is wanted:
                    break
        given = [held[wanted] for held in self._held]
        self._forget(wanted)
        return given

    def _run(self, node: fx.Node) -> None:
        running = fx.Interpreter(self._module, garbage_collect_values=False)
        for held, x_N in zip(self._held, self._x_batches, strict=True):
            running.env = dict(held)
            held[node] = x_N if node.op == "placeholder" else running.run_node(node)
        self._done.add(node)

    def _forget(self, wanted: fx.Node) -> None:
        for held in self._held:
            for node in list(held):
                if node is not wanted and all(user in self._done for user in node.users):
                    del held[node]
