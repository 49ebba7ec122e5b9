"""Trainable blocks whose output is the sum of their open bricks plus the shortcut.

Shapes: N images, C channels, H x W positions, O output channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.attention import attention_of
from edgekit.supernet.batch_norm import batch_norm
from edgekit.supernet.convolution import convolve, kaiming
from edgekit.supernet.spec import BlockKind, BlockSpec

MOMENTUM = 0.05

Chosen = Tensor | slice
"""Indices of channels; those of first bricks as a slice, which copies no weights and keeps no device waiting."""


class ChannelNorm(nn.Module):
    """Batch normalisation of a chosen subset of channels, one entry a channel, with statistics for each image size.

    In training mode it normalises by the batch and moves the running statistics of the chosen channels; in eval mode it is a
    fixed affine map, the same for every subnet of an image size. `size` is the index of the image size: smaller images are
    blurred copies, and have other moments.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int, sizes: int) -> None:
        super().__init__()
        self.momentum = MOMENTUM
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(sizes, channels))
        self.register_buffer("var", torch.ones(sizes, channels))

    def forward(self, x_NCHW: Tensor, chosen: Chosen, size: int = -1) -> Tensor:
        mean, var = self.mean[size, chosen], self.var[size, chosen]
        gamma, beta = self.gamma[chosen], self.beta[chosen]
        y_NCHW = batch_norm(x_NCHW, mean, var, gamma, beta, self.training, self.momentum)
        if self.training and isinstance(chosen, Tensor):  # these were copies
            self.mean[size, chosen], self.var[size, chosen] = mean, var
        return y_NCHW

    def affine(self, chosen: Chosen, size: int = -1) -> tuple[Tensor, Tensor]:
        """(scale, shift) in float64 of the map that eval mode applies."""
        scale = self.gamma[chosen].double() * (self.var[size, chosen].double() + 1e-5).rsqrt()
        return scale, self.beta[chosen].double() - scale * self.mean[size, chosen].double()


class CountNorm(nn.Module):
    """Batch normalisation with one row of parameters for each number of open bricks, and statistics for each image size too.

    The sum of k bricks has other moments than the sum of k + 1 (the observation of switchable normalisation in slimmable
    networks, arXiv 1812.08928); a row a count costs nothing once a subnet is sliced.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int, bricks: int, sizes: int) -> None:
        super().__init__()
        self.momentum = MOMENTUM
        self.gamma = nn.Parameter(torch.ones(bricks, channels))
        self.beta = nn.Parameter(torch.zeros(bricks, channels))
        self.register_buffer("mean", torch.zeros(sizes, bricks, channels))
        self.register_buffer("var", torch.ones(sizes, bricks, channels))

    def forward(self, x_NCHW: Tensor, count: int, size: int = -1) -> Tensor:
        row = count - 1
        mean, var = self.mean[size, row], self.var[size, row]
        return batch_norm(x_NCHW, mean, var, self.gamma[row], self.beta[row], self.training, self.momentum)

    def affine(self, count: int, size: int = -1) -> tuple[Tensor, Tensor]:
        row = count - 1
        scale = self.gamma[row].double() * (self.var[size, row].double() + 1e-5).rsqrt()
        return scale, self.beta[row].double() - scale * self.mean[size, row].double()


class Block(nn.Module):
    """Bricks with their weights, and the shortcut around them, for `sizes` image sizes; see BlockSpec."""

    hidden: Tensor

    def __init__(self, spec: BlockSpec, sizes: int) -> None:
        super().__init__()
        self.spec = spec
        filters = spec.brick_filters * spec.bricks
        self.w_first = nn.Parameter(kaiming(filters, spec.in_channels, spec.first.kernel))
        self.norm_first = ChannelNorm(filters, sizes)
        if spec.depthwise is not None:
            self.w_depthwise = nn.Parameter(kaiming(filters, 1, spec.depthwise.kernel))
            self.norm_depthwise = ChannelNorm(filters, sizes)
        if spec.kind is BlockKind.REPGHOST:
            self.norm_identity = ChannelNorm(filters, sizes)
        self.w_project = nn.Parameter(kaiming(spec.out_channels, spec.hidden_channels, 1))
        self.norm_project = CountNorm(spec.out_channels, spec.bricks, sizes)
        self.attention = attention_of(spec)
        self.register_buffer("hidden", torch.arange(spec.hidden_channels), persistent=False)

    def filters_of(self, bricks: tuple[int, ...]) -> Chosen:
        """Which of the first convolution's filters belong to these bricks, in order."""
        size = self.spec.brick_filters
        if bricks == tuple(range(len(bricks))):
            return slice(0, len(bricks) * size)
        return self.hidden.view(-1, size)[list(bricks)].flatten()

    def channels_of(self, bricks: tuple[int, ...]) -> Chosen:
        """Which hidden channels are these bricks', in order; the second halves of ghost bricks follow all first ones."""
        filters = self.filters_of(bricks)
        if self.spec.kind is not BlockKind.GHOST:
            return filters
        first_halves = self.hidden[: len(self.w_first)][filters]
        return torch.cat([first_halves, first_halves + len(self.w_first)])

    def forward(self, x_NCHW: Tensor, bricks: tuple[int, ...], size: int = -1, *, gated: bool = False) -> Tensor:
        """The open bricks' output, or `x_NCHW` where there are none, for the image size of index `size`.

        `gated` computes every brick and multiplies its hidden channels by its gate, 0 or 1: what computing the open ones alone
        must equal.
        """
        if not bricks:
            return x_NCHW
        computed = tuple(range(self.spec.bricks)) if gated else bricks
        channels = self.channels_of(computed)
        y_NCHW = self._hidden(x_NCHW, computed, size)
        if gated:
            y_NCHW = y_NCHW * torch.isin(self.hidden, self.hidden[self.channels_of(bricks)])[:, None, None]
        if self.attention is not None:
            y_NCHW = self.attention(y_NCHW, channels)
        sum_NCHW: Tensor = self.norm_project(F.conv2d(y_NCHW, self.w_project[:, channels]), len(bricks), size)
        return x_NCHW + sum_NCHW if self.spec.has_shortcut else sum_NCHW

    def _hidden(self, x_NCHW: Tensor, bricks: tuple[int, ...], size: int) -> Tensor:
        spec, chosen = self.spec, self.filters_of(bricks)
        first_NCHW = convolve(x_NCHW, self.w_first[chosen], spec.first.stride)
        first_NCHW = F.relu(self.norm_first(first_NCHW, chosen, size))
        if spec.depthwise is None:
            return first_NCHW
        stride = spec.depthwise.stride
        y_NCHW = convolve(first_NCHW, self.w_depthwise[chosen], stride, groups=first_NCHW.shape[1])
        y_NCHW = self.norm_depthwise(y_NCHW, chosen, size)
        if spec.kind is BlockKind.REPGHOST:
            y_NCHW = y_NCHW + self.norm_identity(first_NCHW[:, :, ::stride, ::stride], chosen, size)
        y_NCHW = F.relu(y_NCHW)
        return torch.cat([first_NCHW, y_NCHW], 1) if spec.kind is BlockKind.GHOST else y_NCHW
