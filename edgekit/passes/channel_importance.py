"""What channels are worth, and in which order they go."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn import functional as F  # noqa: N812

from edgekit.passes.channel_groups import ChannelGroup
from edgekit.passes.channel_reconstruction import Moments, eliminate, eliminations
from edgekit.passes.channels import Importance
from edgekit.passes.contract import Samples


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """All channels of a group but the last, the least important first, and the share of the layer's worth that each takes."""

    order: tuple[int, ...]
    costs: tuple[float, ...]

    def lost(self, removed: int) -> float:
        return sum(self.costs[:removed])


def rank(
    module: fx.GraphModule,
    groups: Sequence[ChannelGroup],
    importance: Importance,
    samples: Samples,
    moments: Mapping[str, Moments],
) -> dict[str, Ranking]:
    """By root, normalised by layer so that layers can be compared. Reconstruction takes its readers' `moments`."""
    if importance is Importance.RECONSTRUCTION:
        return {group.root: _by_reconstruction(module, group, moments) for group in groups}
    if importance is Importance.TAYLOR:
        worth = _taylor(module, groups, samples)
    else:
        worth = {group.root: _weights(module, group, importance) for group in groups}
    return {root: _by_worth(worth_C) for root, worth_C in worth.items()}


def _by_reconstruction(module: fx.GraphModule, group: ChannelGroup, moments: Mapping[str, Moments]) -> Ranking:
    each = eliminations(group, module, moments)
    gone, costs = eliminate(each, group.channels, group.channels - 1)
    return Ranking(order=tuple(gone), costs=tuple(cost / len(each) for cost in costs))


def _by_worth(worth_C: Tensor) -> Ranking:
    order = worth_C.argsort(stable=True)[:-1]
    shares = worth_C[order] / worth_C.sum().clamp_min(1e-12)
    return Ranking(order=tuple(order.tolist()), costs=tuple(shares.tolist()))


def _weights(module: fx.GraphModule, group: ChannelGroup, importance: Importance) -> Tensor:
    power = 1 if importance is Importance.L1 else 2
    if importance is Importance.BATCH_NORM and group.norms:
        scales = [(module.get_submodule(norm.name).weight, norm.positions_CP) for norm in group.norms]
        return torch.stack([scale[positions].abs().sum(1) for scale, positions in scales]).sum(0).detach()  # type: ignore[index]
    worth = []
    for members, dim in ((group.writers, 0), (group.readers, 1)):
        for member in members:
            weight = module.get_parameter(f"{member.name}.weight").detach().transpose(0, dim).flatten(1)
            worth.append(weight.abs().pow(power).sum(1)[member.positions_CP].sum(1))
    total: Tensor = torch.stack([one / one.mean().clamp_min(1e-12) for one in worth]).sum(0)
    return total.sqrt() if power == 2 else total


def _taylor(module: fx.GraphModule, groups: Sequence[ChannelGroup], samples: Samples) -> dict[str, Tensor]:
    """(sum of weight x gradient over what reads a channel)^2: that is the gradient of a gate on the channel, squared."""
    trial = copy.deepcopy(module).eval().requires_grad_(True)
    worth = {group.root: torch.zeros(group.channels) for group in groups}
    for start in range(0, len(samples), 32):
        y_N = trial(samples.x_N[start : start + 32])
        if y_N.ndim == 2 and y_N.shape[1] > 1:
            labels_N = y_N.detach().argmax(1) if samples.y_N is None else samples.y_N[start : start + 32]
            loss = F.cross_entropy(y_N, labels_N)
        else:
            loss = y_N.square().mean()
        trial.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in groups:
            for reader in group.readers:
                weight = trial.get_parameter(f"{reader.name}.weight")
                assert weight.grad is not None  # noqa: S101
                gates = (weight * weight.grad).detach().transpose(0, 1).flatten(1).sum(1)
                worth[group.root] += gates[reader.positions_CP].sum(1).square()
    return worth
