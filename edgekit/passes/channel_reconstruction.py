"""Removal of input channels from layers whose remaining weights then answer as much as they can like before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.networks.layers import batches, layers_of, watching
from edgekit.passes.channel_groups import ChannelGroup, Member

BATCH, PLACES, RIDGE = 64, 32, 1e-4


@dataclass(kw_only=True, slots=True)
class Moments:
    """Sums over rows of what a layer reads, `x_RD`, and of what it is to answer, `y_RO`."""

    rows: int
    xx_DD: Tensor
    xy_DO: Tensor
    x_D: Tensor
    y_O: Tensor
    yy: float

    @classmethod
    def none(cls, layer: nn.Conv2d | nn.Linear) -> Moments:
        out, size = layer.weight.flatten(1).shape
        zeros = [torch.zeros(*shape, dtype=torch.float64) for shape in ((size, size), (size, out), (size,), (out,))]
        return cls(rows=0, xx_DD=zeros[0], xy_DO=zeros[1], x_D=zeros[2], y_O=zeros[3], yy=0.0)

    def add(self, x_RD: Tensor, y_RO: Tensor) -> None:
        self.rows += len(x_RD)
        self.xx_DD += x_RD.T @ x_RD
        self.xy_DO += x_RD.T @ y_RO
        self.x_D += x_RD.sum(0)
        self.y_O += y_RO.sum(0)
        self.yy += float(y_RO.double().square().sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """By layer: moments, and the answers `y_RO` of each batch."""

    moments: Mapping[str, Moments]
    answers: Mapping[str, Sequence[Tensor]]


class Elimination:
    """Input channels of one layer are removed one by one, and the others' weights refitted each time in closed form.

    The loss is the mean square of (y - w x) over rows; removing a block of weights adds `w_B inv(H^-1_BB) w_B^T` to it after the
    best answer of the others (optimal brain surgeon, Hassibi and Stork 1993, for blocks). It is counted as a share of the
    variance of y. Where an offset can be absorbed, by a bias or a normalisation, x and y are taken about their means.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, member: Member, moments: Moments, *, absorbs_offset: bool) -> None:
        self._layer, rows = layer, max(moments.rows, 1)
        self._x_D, self._y_O = moments.x_D / rows, moments.y_O / rows
        if not absorbs_offset:
            self._x_D, self._y_O = torch.zeros_like(self._x_D), torch.zeros_like(self._y_O)
        gram_DD = moments.xx_DD / rows - torch.outer(self._x_D, self._x_D)
        cross_DO = moments.xy_DO / rows - torch.outer(self._x_D, self._y_O)
        self._variance = max(moments.yy / rows - float(self._y_O.square().sum()), 1e-12)
        gram_DD.diagonal().add_(RIDGE * float(gram_DD.diagonal().mean()) + 1e-12)
        self._inverse_DD = torch.linalg.inv(gram_DD)
        weight_OD = layer.weight.detach().flatten(1).double()
        # The ridge holds to the weights as they are: with nothing to explain, nothing changes.
        self._weight_OD = weight_OD + (cross_DO.T - weight_OD @ gram_DD) @ self._inverse_DD
        area = weight_OD.shape[1] // layer.weight.shape[1]
        positions_CP1 = member.positions_CP[:, :, None]
        self._columns_CB = (positions_CP1 * area + torch.arange(area)).flatten(1)

    def costs(self, channels: Tensor) -> Tensor:
        """Of removing each of these alone, next."""
        columns_CB = self._columns_CB[channels]
        blocks_CBB = self._inverse_DD[columns_CB[:, :, None], columns_CB[:, None, :]]
        weights_COB = self._weight_OD[:, columns_CB].transpose(0, 1)
        solved_CBO = torch.linalg.solve(blocks_CBB, weights_COB.transpose(1, 2))
        costs_C: Tensor = (weights_COB.transpose(1, 2) * solved_CBO).sum((1, 2)) / self._variance
        return costs_C

    def remove(self, channel: int) -> None:
        columns_B = self._columns_CB[channel]
        rows_BD = self._inverse_DD[columns_B]
        solved_BD = torch.linalg.solve(rows_BD[:, columns_B], rows_BD)
        self._weight_OD -= self._weight_OD[:, columns_B] @ solved_BD
        self._inverse_DD -= rows_BD.T @ solved_BD
        self._weight_OD[:, columns_B] = 0
        # Removed rows stay out of later solutions.
        self._inverse_DD[columns_B] = 0
        self._inverse_DD[:, columns_B] = 0

    def write(self) -> None:
        """Into the layer: weights, and the offset where it has a bias."""
        with torch.no_grad():
            self._layer.weight.copy_(self._weight_OD.view_as(self._layer.weight))
            if self._layer.bias is not None:
                self._layer.bias += (self._y_O - self._weight_OD @ self._x_D - self._layer.bias.double()).float()


def measure(
    module: fx.GraphModule, names: Sequence[str], x_N: Tensor, wanted: Mapping[str, Sequence[Tensor]] | None = None
) -> Statistics:
    """Of the named layers; `wanted` are answers that another network's same layers gave to the same inputs."""
    layers = dict(module.named_modules())
    moments = {name: Moments.none(cast("nn.Conv2d | nn.Linear", layers[name])) for name in names}
    answers: dict[str, list[Tensor]] = {name: [] for name in names}
    for number, some_N in enumerate(batches(x_N, BATCH)):
        for name, x_RD, y_RO in _rows(module, names, some_N, number):
            moments[name].add(x_RD, y_RO if wanted is None else wanted[name][number])
            answers[name].append(y_RO)
    return Statistics(moments=moments, answers=answers)


def eliminations(
    group: ChannelGroup, module: fx.GraphModule, moments: Mapping[str, Moments]
) -> tuple[Elimination, ...]:
    """Of each reader of the group."""
    layers = {layer.name: layer for layer in layers_of(module)}
    return tuple(
        Elimination(
            layers[member.name].module,
            member,
            moments[member.name],
            absorbs_offset=layers[member.name].module.bias is not None or layers[member.name].batch_norm is not None,
        )
        for member in group.readers
    )


def eliminate(
    each: Sequence[Elimination], channels: int, number: int, order: Sequence[int] | None = None
) -> tuple[list[int], list[float]]:
    """The first `number` channels to go, in `order` or else the cheapest first, and what each costs when it goes."""
    gone: list[int] = []
    costs: list[float] = []
    left = torch.arange(channels)
    for step in range(number):
        costs_C = torch.stack([one.costs(left) for one in each]).sum(0)
        at = int(costs_C.argmin()) if order is None else int((left == order[step]).nonzero())
        gone.append(int(left[at]))
        costs.append(max(float(costs_C[at]), 0.0))
        for one in each:
            one.remove(gone[-1])
        left = torch.cat([left[:at], left[at + 1 :]])
    return gone, costs


def _rows(
    module: fx.GraphModule, names: Sequence[str], x_N: Tensor, number: int
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What the layers read and answer at some of their places, drawn anew for every batch: `x_RD`, `y_RO`."""
    layers = dict(module.named_modules())
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.no_grad(), watching(module, names, lambda name, x_N, y_N: seen.update({name: (x_N, y_N)})):
        module(x_N)
    for name, (read_N, answer_N) in seen.items():
        layer = layers[name]
        if isinstance(layer, nn.Conv2d):
            padding = layer.padding
            assert not isinstance(padding, str)  # noqa: S101
            x_NDL = F.unfold(read_N, layer.kernel_size, layer.dilation, padding, layer.stride)
            places = torch.randperm(x_NDL.shape[2], generator=torch.Generator().manual_seed(number))[:PLACES]
            x_RD = x_NDL[:, :, places].transpose(1, 2).flatten(0, 1)
            y_RO = answer_N.flatten(2)[:, :, places].transpose(1, 2).flatten(0, 1)
        else:
            x_RD, y_RO = read_N.flatten(0, -2), answer_N.flatten(0, -2)
        yield name, x_RD, y_RO
