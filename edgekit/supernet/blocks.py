"""Trainable blocks whose output is the sum of their open bricks plus the shortcut.

Shapes: N images, C channels, H x W positions, M bricks a block, O output channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.spec import BlockKind, BlockSpec

MOMENTUM = 0.05


class ChannelNorm(nn.Module):
    """Batch normalisation of a chosen subset of channels, one entry a channel.

    In training mode it normalises by the batch and moves the running statistics of the chosen channels; in eval mode it is a
    fixed affine map, the same for every subnet.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x_NCHW: Tensor, chosen: Tensor) -> Tensor:
        mean, var = self.mean[chosen], self.var[chosen]
        y_NCHW = F.batch_norm(x_NCHW, mean, var, self.gamma[chosen], self.beta[chosen], self.training, MOMENTUM)
        if self.training:
            self.mean[chosen], self.var[chosen] = mean, var
        return y_NCHW

    def affine(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, shift) in float64 of the map that eval mode applies."""
        scale = self.gamma[chosen].double() * (self.var[chosen].double() + 1e-5).rsqrt()
        return scale, self.beta[chosen].double() - scale * self.mean[chosen].double()


class CountNorm(nn.Module):
    """Batch normalisation with one row of parameters and statistics for each number of open bricks.

    The sum of k bricks has other moments than the sum of k + 1 (the observation of switchable normalisation in slimmable
    networks, arXiv 1812.08928); a row a count costs nothing once a subnet is sliced.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int, bricks: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(bricks, channels))
        self.beta = nn.Parameter(torch.zeros(bricks, channels))
        self.register_buffer("mean", torch.zeros(bricks, channels))
        self.register_buffer("var", torch.ones(bricks, channels))

    def forward(self, x_NCHW: Tensor, count: int) -> Tensor:
        row = count - 1
        return F.batch_norm(
            x_NCHW, self.mean[row], self.var[row], self.gamma[row], self.beta[row], self.training, MOMENTUM
        )

    def affine(self, count: int) -> tuple[Tensor, Tensor]:
        row = count - 1
        scale = self.gamma[row].double() * (self.var[row].double() + 1e-5).rsqrt()
        return scale, self.beta[row].double() - scale * self.mean[row].double()


class Block(nn.Module):
    """One position of a supernet."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.spec = spec
        hidden = spec.hidden_channels
        first_kernel = spec.kernel if spec.kind is BlockKind.FUSED else 1
        self.w_first = nn.Parameter(kaiming(hidden, spec.in_channels, first_kernel))
        self.norm_first = ChannelNorm(hidden)
        if spec.kind is BlockKind.INVERTED:
            self.w_depthwise = nn.Parameter(kaiming(hidden, 1, spec.kernel))
            self.norm_depthwise = ChannelNorm(hidden)
        self.w_project = nn.Parameter(kaiming(spec.out_channels, hidden, 1))
        self.norm_project = CountNorm(spec.out_channels, spec.bricks)

    def channels_of(self, bricks: tuple[int, ...]) -> Tensor:
        """Indices of the hidden channels of these bricks, in order."""
        size = self.spec.brick_channels
        starts = torch.tensor(bricks, device=self.w_first.device) * size
        return (starts[:, None] + torch.arange(size, device=self.w_first.device)).flatten()

    def forward(
        self, x_NCHW: Tensor, bricks: tuple[int, ...], *, count: int | None = None, gates: Tensor | None = None
    ) -> Tensor:
        """Computes the given bricks only, each weighted by its entry of `gates` (one a given brick) where there are gates.

        `count` is the number of open bricks that selects the normalisation of the sum; all given bricks where it is None.
        """
        spec = self.spec
        count = len(bricks) if count is None else count
        if count == 0:
            return x_NCHW
        chosen = self.channels_of(bricks)
        if spec.kind is BlockKind.FUSED:
            y_NCHW = convolve(x_NCHW, self.w_first[chosen], spec.stride)
            y_NCHW = F.relu(self.norm_first(y_NCHW, chosen))
        else:
            y_NCHW = F.relu(self.norm_first(F.conv2d(x_NCHW, self.w_first[chosen]), chosen))
            y_NCHW = convolve(y_NCHW, self.w_depthwise[chosen], spec.stride, groups=len(chosen))
            y_NCHW = F.relu(self.norm_depthwise(y_NCHW, chosen))
        w_project = self.w_project[:, chosen]
        if gates is not None:
            w_project = w_project * gates.repeat_interleave(spec.brick_channels)[None, :, None, None]
        sum_NCHW: Tensor = self.norm_project(F.conv2d(y_NCHW, w_project), count)
        return x_NCHW + sum_NCHW if spec.keeps_shape else sum_NCHW


def same_padding(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) for stride 1 and, on even sizes, 2: TFLite's SAME, which needs no PAD operator."""
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return before, after, before, after


def convolve(x_NCHW: Tensor, w_OIHW: Tensor, stride: int, *, groups: int = 1) -> Tensor:
    """Convolution with `same_padding`."""
    left, right, *_ = padding = same_padding(w_OIHW.shape[-1], stride)
    if left == right:
        return F.conv2d(x_NCHW, w_OIHW, stride=stride, padding=left, groups=groups)
    return F.conv2d(F.pad(x_NCHW, padding), w_OIHW, stride=stride, groups=groups)


def kaiming(out_channels: int, in_channels: int, kernel: int) -> Tensor:
    w_OIHW = torch.empty(out_channels, in_channels, kernel, kernel)
    nn.init.kaiming_normal_(w_OIHW, mode="fan_in", nonlinearity="relu")
    return w_OIHW
