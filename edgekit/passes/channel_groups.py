"""Channels that can only go together: which layers write, normalise and read each, and their physical removal."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.networks.layers import watching

_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A layer of a group, and the P of its channels that belong to each of the group's C: `positions_CP`, int64."""

    name: str
    positions_CP: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelGroup:
    """`root` is the layer whose C output channels the group is counted by.

    `writers` are convolutions and linear layers whose output channels go with the group's, depthwise ones among them; `readers`
    lose input channels alone.
    """

    root: str
    channels: int
    writers: tuple[Member, ...]
    norms: tuple[Member, ...]
    readers: tuple[Member, ...]


class Channels:
    """The channels of a graph module, which is changed in place where some are removed.

    Dependencies are those that torch-pruning traces (DepGraph, arXiv 2301.12900). It takes operations that it does not know for
    elementwise ones, which a shift of channels (padding) or a size written into the graph (view) is not; hence `sound`.
    """

    def __init__(self, module: fx.GraphModule, input_shape: tuple[int, ...]) -> None:
        self.module, self.input_shape = module, input_shape
        module.eval().requires_grad_(True)
        self._layers = dict(module.named_modules())
        self._names = {layer: name for name, layer in self._layers.items()}
        with torch.enable_grad():
            # A tuple: torch-pruning would take a bare tensor apart along its batch.
            self._graph = tp.DependencyGraph().build_dependency(module, (_inputs(input_shape),), verbose=False)

    def groups(self) -> tuple[ChannelGroup, ...]:
        """Those that can be described, in the order in which their roots run."""
        calls = [str(node.target) for node in self.module.graph.nodes if node.op == "call_module"]
        found = []
        for traced in self._graph.get_all_groups():
            group = self._described(traced)
            members = (*group.writers, *group.norms, *group.readers) if group else ()
            if group and all(calls.count(member.name) == 1 for member in members):
                found.append(group)
        return tuple(sorted(found, key=lambda group: calls.index(group.root)))

    def group(self, root: str) -> ChannelGroup:
        """As it is now: where others share a concatenation with it, positions move as those are removed."""
        channels = self._graph.get_out_channels(self._layers[root])
        group = self._described(self._traced(root, range(channels)))
        assert group is not None  # noqa: S101 (it could be described before, with more channels)
        return group

    def remove(self, root: str, channels: Sequence[int]) -> None:
        if channels:
            self._traced(root, channels).prune()

    def silence(self, root: str, channels: Sequence[int]) -> None:
        """Zeroes all weights that read these channels: outputs are then those that the network has without them."""
        for member in self.group(root).readers:
            with torch.no_grad():
                self._layers[member.name].weight[:, member.positions_CP[list(channels)].flatten()] = 0

    def _traced(self, root: str, channels: Sequence[int]) -> Any:
        layer = self._layers[root]
        prune = self._graph.get_pruner_of_module(layer).prune_out_channels
        return self._graph.get_pruning_group(layer, prune, list(channels))

    def _described(self, traced: Any) -> ChannelGroup | None:
        """None for what no layer reads, or where channels do not correspond one to one."""
        root = traced[0].dep.target.module
        channels = self._graph.get_out_channels(root)
        found: dict[str, list[Member]] = {"writers": [], "norms": [], "readers": []}
        for item in traced:
            layer = item.dep.target.module
            if isinstance(layer, nn.Parameter) or item.dep.target.type == tp.ops.OPTYPE.OUTPUT:
                return None
            if layer not in self._names:
                continue  # an operation without channels of its own
            positions: list[list[int]] = [[] for _ in range(channels)]
            for index, of in zip(item.idxs, item.root_idxs, strict=True):
                positions[of].append(index)
            if len({len(some) for some in positions}) != 1:
                return None
            writes = self._graph.is_out_channel_pruning_fn(item.dep.handler)
            role = _role(layer, writes=writes)
            if role is not None:
                found[role].append(Member(name=self._names[layer], positions_CP=torch.tensor(positions)))
            elif any(True for _ in layer.parameters(recurse=False)):
                return None  # a grouped convolution, or a normalisation across channels
        if not found["readers"]:
            return None
        return ChannelGroup(
            root=self._names[root],
            channels=channels,
            writers=tuple(found["writers"]),
            norms=tuple(found["norms"]),
            readers=tuple(found["readers"]),
        )


def _role(layer: nn.Module, *, writes: bool) -> str | None:
    if isinstance(layer, _BatchNorm):
        return "norms"
    if isinstance(layer, nn.Linear):
        return "writers" if writes else "readers"
    if isinstance(layer, nn.Conv2d):
        if layer.groups == 1:
            return "writers" if writes else "readers"
        return "writers" if layer.groups == layer.in_channels == layer.out_channels else None
    return None


def sound(
    module: fx.GraphModule, input_shape: tuple[int, ...], groups: Sequence[ChannelGroup]
) -> tuple[ChannelGroup, ...]:
    """Those of the groups of which channels can be removed such that the network runs and answers as if they were silent.

    Tried with every other channel of each.
    """
    removed = {group.root: tuple(range(0, group.channels - 1, 2)) for group in groups if group.channels > 1}
    groups = [group for group in groups if group.root in removed]
    if not groups or _holds(module, input_shape, removed):
        return tuple(groups)
    if len(groups) == 1:
        return ()
    half = len(groups) // 2
    return sound(module, input_shape, groups[:half]) + sound(module, input_shape, groups[half:])


def _holds(module: fx.GraphModule, input_shape: tuple[int, ...], removed: Mapping[str, Sequence[int]]) -> bool:
    x_N = _inputs(input_shape)
    try:
        silent = Channels(copy.deepcopy(module), input_shape)
        without = Channels(copy.deepcopy(module), input_shape)
        for root, channels in removed.items():
            silent.silence(root, channels)
            without.remove(root, channels)
        with torch.no_grad():
            wanted_N, y_N = silent.module(x_N), without.module(x_N)
    except Exception:  # whatever sizes written into the graph make an operation raise
        return False
    return wanted_N.shape == y_N.shape and bool((wanted_N - y_N).abs().max() <= _TOLERANCE * wanted_N.abs().max())


def layer_macs(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Multiply-accumulates of every convolution and linear layer at batch 1."""
    macs: dict[str, int] = {}
    layers = {name: one for name, one in module.named_modules() if isinstance(one, (nn.Conv2d, nn.Linear))}

    def see(name: str, _x_N: Tensor, y_N: Tensor) -> None:
        weight = layers[name].weight
        macs[name] = macs.get(name, 0) + y_N.numel() * (weight.numel() // len(weight))

    with torch.no_grad(), watching(module, tuple(layers), see):
        module(torch.zeros(1, *input_shape))
    return macs


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """MACs of a network by how many channels each of its groups keeps."""

    macs: Mapping[str, int]
    groups: tuple[ChannelGroup, ...]
    sizes: Mapping[str, tuple[int, int]]
    """Channels out and in of each layer, those in of a depthwise one counted as 1."""

    @classmethod
    def of(cls, module: nn.Module, input_shape: tuple[int, ...], groups: tuple[ChannelGroup, ...]) -> Work:
        macs = layer_macs(module, input_shape)
        weights = {name: module.get_parameter(f"{name}.weight") for name in macs}
        sizes = {name: (weight.shape[0], weight.shape[1]) for name, weight in weights.items()}
        return cls(macs=macs, groups=groups, sizes=sizes)

    def layers(self, kept: Mapping[str, int]) -> dict[str, float]:
        out = {name: size[0] for name, size in self.sizes.items()}
        into = {name: size[1] for name, size in self.sizes.items()}
        for group in self.groups:
            gone = group.channels - kept[group.root]
            for member in group.writers:
                out[member.name] -= gone * member.positions_CP.shape[1]
            for member in group.readers:
                into[member.name] -= gone * member.positions_CP.shape[1]
        return {name: macs * out[name] * into[name] / math.prod(self.sizes[name]) for name, macs in self.macs.items()}

    def total(self, kept: Mapping[str, int]) -> float:
        return sum(self.layers(kept).values())


def _inputs(input_shape: tuple[int, ...]) -> Tensor:
    return torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0))
