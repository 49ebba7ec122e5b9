"""Attention over the hidden channels of a block, such that closed bricks leave no trace.

Channels of closed bricks are 0 where all bricks are computed, and absent where a subnet is sliced; both must give the same.

Shapes: N images, C hidden channels of the bricks at hand, S squeezed channels, R runs of channels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.convolution import kaiming
from edgekit.supernet.spec import ECA_KERNEL, Attention, BlockSpec


class EfficientChannelAttention(nn.Module):
    """Channels weighed by the sigmoid of a short convolution over their means (ECA, arXiv 1910.03151).

    The convolution runs within each brick alone, with zeros beyond its borders and one kernel for all: across a border a
    channel's neighbour would depend on which bricks are open, and a sliced subnet would have others than the gated supernet.
    The two halves of a ghost brick are bordered too.
    """

    excess: ClassVar[float] = 1.0

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.run = spec.brick_filters
        self.w = nn.Parameter(torch.empty(1, 1, 1, ECA_KERNEL))
        nn.init.kaiming_normal_(self.w, nonlinearity="sigmoid")

    def forward(self, y_NCHW: Tensor, _channels: Tensor | slice) -> Tensor:
        gate_N1RC = F.conv2d(_means_in_runs(y_NCHW, self.run), self.w, padding=(0, ECA_KERNEL // 2)).sigmoid()
        return y_NCHW * gate_N1RC.reshape(len(y_NCHW), -1, 1, 1)

    def sliced(self, _channels: Tensor | slice) -> nn.Module:
        neighbours = nn.Conv2d(1, 1, (1, ECA_KERNEL), padding=(0, ECA_KERNEL // 2), bias=False)
        neighbours.weight.copy_(self.w)
        return NeighbourGate(neighbours, self.run)


class SqueezeAndExcitation(nn.Module):
    """Channels weighed by the hard sigmoid of two dense layers on their means (SE, arXiv 1709.01507).

    The inner width belongs to the block, not to its open bricks: a subnet keeps columns of the first layer and rows of the
    second.
    """

    excess: ClassVar[float] = 6.0
    """A sliced gate is larger by this factor, which its reader takes back: the hard sigmoid is ReLU6(x + 3) / 6, and so costs
    no operator of its own."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        hidden, squeezed = spec.hidden_channels, spec.squeezed_channels
        self.w_reduce = nn.Parameter(kaiming(squeezed, hidden, 1))
        self.b_reduce = nn.Parameter(torch.zeros(squeezed))
        self.w_expand = nn.Parameter(kaiming(hidden, squeezed, 1))
        self.b_expand = nn.Parameter(torch.zeros(hidden))

    def forward(self, y_NCHW: Tensor, channels: Tensor | slice) -> Tensor:
        mean_NC11 = y_NCHW.mean((2, 3), keepdim=True)
        z_NS11 = F.relu(F.conv2d(mean_NC11, self.w_reduce[:, channels], self.b_reduce))
        return y_NCHW * F.hardsigmoid(F.conv2d(z_NS11, self.w_expand[channels], self.b_expand[channels]))

    def sliced(self, channels: Tensor | slice) -> nn.Module:
        reduce = _pointwise(self.w_reduce[:, channels], self.b_reduce)
        return SixfoldGate(reduce, _pointwise(self.w_expand[channels], self.b_expand[channels] + 3))


class NeighbourGate(nn.Module):
    """ECA of a subnet, over runs of `run` channels."""

    def __init__(self, neighbours: nn.Conv2d, run: int) -> None:
        super().__init__()
        self.neighbours, self.run = neighbours, run

    def forward(self, y_NCHW: Tensor) -> Tensor:
        gate_N1RC: Tensor = self.neighbours(_means_in_runs(y_NCHW, self.run)).sigmoid()
        return y_NCHW * gate_N1RC.reshape(len(y_NCHW), -1, 1, 1)


class SixfoldGate(nn.Module):
    """Six times the SE of a subnet."""

    def __init__(self, reduce: nn.Conv2d, expand: nn.Conv2d) -> None:
        super().__init__()
        self.reduce, self.expand = reduce, expand

    def forward(self, y_NCHW: Tensor) -> Tensor:
        mean_NC11 = y_NCHW.mean((2, 3), keepdim=True)
        return y_NCHW * F.relu6(self.expand(F.relu(self.reduce(mean_NC11))))


def attention_of(spec: BlockSpec) -> EfficientChannelAttention | SqueezeAndExcitation | None:
    match spec.attention:
        case Attention.ECA:
            return EfficientChannelAttention(spec)
        case Attention.SE:
            return SqueezeAndExcitation(spec)
        case Attention.NONE:
            return None


def _means_in_runs(y_NCHW: Tensor, run: int) -> Tensor:
    return y_NCHW.mean((2, 3), keepdim=True).reshape(len(y_NCHW), 1, -1, run)


def _pointwise(w_OI11: Tensor, b_O: Tensor) -> nn.Conv2d:
    convolution = nn.Conv2d(w_OI11.shape[1], w_OI11.shape[0], 1)
    convolution.weight.copy_(w_OI11)
    assert convolution.bias is not None  # noqa: S101
    convolution.bias.copy_(b_O)
    return convolution
