"""Which layers have to agree on the order of some channels, and a new order, or a choice of channels, for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.networks.layers import ACTIVATIONS
from edgekit.passes.graph_reading import GraphReading, Shape, function_name

_ELEMENTWISE = (*ACTIVATIONS, nn.Identity, nn.Dropout, nn.Dropout2d)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample)
_ELEMENTWISE_FUNCTIONS = frozenset(
    {
        *("relu", "relu6", "hardtanh", "sigmoid", "hardsigmoid", "hardswish", "silu", "tanh", "gelu", "leaky_relu"),
        *("dropout", "clone", "contiguous", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"),
    }
)


@dataclass(slots=True)
class ChannelGroup:
    """Layers by name. `readers` has how many features of a linear layer belong to one channel (1 for convolutions).

    `fixed` tells that the graph holds the number of channels as a constant: they can be reordered, not removed.
    """

    writers: set[str] = field(default_factory=set)
    carriers: set[str] = field(default_factory=set)
    readers: dict[str, int] = field(default_factory=dict)
    fixed: bool = False


class OrderCannotChange(Exception):  # noqa: N818
    """Says what stands against it."""


def group_of(reading: GraphReading, shapes: dict[fx.Node, Shape], node: fx.Node) -> ChannelGroup:
    """All layers that write, carry or read the channels of a tensor. Raises OrderCannotChange."""
    tracing = _Tracing(reading, shapes)
    tracing.visit(node)
    return tracing.group


class _Tracing:
    """Follows channels from tensor to tensor, to what reads them and back to what they come from."""

    def __init__(self, reading: GraphReading, shapes: dict[fx.Node, Shape]) -> None:
        self._reading, self._shapes = reading, shapes
        self._seen: set[fx.Node] = set()
        self.group = ChannelGroup()

    def visit(self, start: fx.Node) -> None:
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if node not in self._seen:
                self._seen.add(node)
                waiting += self._sources(node)
                for user in node.users:
                    waiting += self._reader(user, node)

    def _sources(self, node: fx.Node) -> list[fx.Node]:
        """The tensors whose order the order of this one is."""
        module = self._reading.module_of(node)
        name = str(node.target)
        if isinstance(module, (nn.Conv2d, nn.Linear, _BatchNorm)):
            if not self._reading.is_alone(node):
                raise OrderCannotChange(f"{name} is called several times")
            if isinstance(module, _BatchNorm) or is_depthwise(module):
                self.group.carriers.add(name)
                return node.all_input_nodes
            if isinstance(module, nn.Linear) or module.groups == 1:
                self.group.writers.add(name)
                return []
            raise OrderCannotChange(f"{name} has groups")
        if isinstance(module, (*_ELEMENTWISE, *_POOLS)) or self._keeps_channels(node):
            return node.all_input_nodes
        if self._flattens(node):
            self.group.fixed |= module is None
            return node.all_input_nodes
        raise OrderCannotChange(f"{node.name} depends on the order")

    def _reader(self, user: fx.Node, node: fx.Node) -> list[fx.Node]:
        module = self._reading.module_of(user)
        dense = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if not dense:
            return [user]
        if not self._reading.is_alone(user):
            raise OrderCannotChange(f"{user.target} is called several times")
        if isinstance(module, nn.Linear) and len(self._shapes[node]) != 2:
            raise OrderCannotChange(f"{user.target} does not read channels")
        self.group.readers[str(user.target)] = self._features(node)
        return []

    def _features(self, node: fx.Node) -> int:
        """Values per channel that the last flattening before the tensor put beside each other."""
        while not self._flattens(node) and self._sources_are_plain(node):
            node = node.all_input_nodes[0]
        return prod(self._shapes[node.all_input_nodes[0]][2:]) if self._flattens(node) else 1

    def _sources_are_plain(self, node: fx.Node) -> bool:
        module = self._reading.module_of(node)
        plain = isinstance(module, _ELEMENTWISE) or function_name(node) in _ELEMENTWISE_FUNCTIONS
        return plain and len(self._shapes[node]) == 2

    def _flattens(self, node: fx.Node) -> bool:
        flattening = isinstance(self._reading.module_of(node), nn.Flatten)
        if not flattening and function_name(node) not in {"flatten", "view", "reshape"}:
            return False
        before = self._shapes[node.all_input_nodes[0]]
        return len(before) > 2 and self._shapes[node] == (1, prod(before[1:]))

    def _keeps_channels(self, node: fx.Node) -> bool:
        name, inputs = function_name(node), node.all_input_nodes
        if name in _ELEMENTWISE_FUNCTIONS:
            return True
        if name in {"add", "iadd", "mul", "imul"}:
            channels = {self._shapes[one][1] for one in inputs if len(self._shapes[one]) > 1}
            return len(inputs) == 1 or (
                len(channels) == 1 and all(len(self._shapes[one]) == len(self._shapes[node]) for one in inputs)
            )
        if name == "mean":
            dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
            return isinstance(dims, (tuple, list)) and {int(str(dim)) % 4 for dim in dims} == {2, 3}
        if name == "getitem":
            index = node.args[1]
            return isinstance(index, tuple) and index[:2] == (slice(None), slice(None)) and len(index) == 4
        if name == "slice":
            return len(node.args) > 1 and node.args[1] in {2, 3}
        if name in {"pad", "constant_pad_nd"}:
            return isinstance(node.args[1], (tuple, list)) and len(node.args[1]) <= 4
        return False


def is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels > 1


def choose(module: nn.Module, masks: dict[str, Tensor], group: ChannelGroup, index: Tensor) -> None:
    """Gives the group's layers the channels `index` of those they have, in that order. In place, `masks` too."""
    for name in group.writers:
        layer = module.get_submodule(name)
        _select(layer, name, masks, index, 0)
        _count(layer, len(index), "out_channels", "out_features")
    for name in group.carriers:
        layer = module.get_submodule(name)
        _select(layer, name, masks, index, 0)
        _count(layer, len(index), "num_features", "out_channels", "in_channels", "groups")
    for name, features in group.readers.items():
        layer = module.get_submodule(name)
        spread = (index[:, None] * features + torch.arange(features)).flatten()
        _select(layer, name, masks, spread, 1)
        _count(layer, len(spread), "in_channels", "in_features")


def _select(layer: nn.Module, name: str, masks: dict[str, Tensor], index: Tensor, axis: int) -> None:
    for own, tensor in _tensors(layer):
        if tensor.ndim <= axis:
            continue
        chosen = tensor.detach().index_select(axis, index)
        setattr(layer, own, nn.Parameter(chosen) if isinstance(tensor, nn.Parameter) else chosen)
        if f"{name}.{own}" in masks:
            masks[f"{name}.{own}"] = masks[f"{name}.{own}"].index_select(axis, index)


def _tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for own, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
        if tensor.ndim:
            yield own, tensor


def _count(layer: nn.Module, channels: int, *names: str) -> None:
    for name in names:
        if hasattr(layer, name):
            setattr(layer, name, channels)
