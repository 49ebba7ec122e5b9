"""Samples of places in feature maps, small enough to solve for weights with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.passes.graph_reading import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What one output of a convolution reads, as of nn.Conv2d; zeros around the picture."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """`index_NT` (image, places in it): positions in an output of `height` x `width`, row by row."""

    index_NT: Tensor
    height: int
    width: int


def draw_places(images: int, output: Shape, count: int, generator: torch.Generator) -> Places:
    """About `count` of them, as many in each image; all of the output where that is no more."""
    height, width = output[-2:]
    each = max(1, min(height * width, count // images))
    order_NP = torch.rand(images, height * width, generator=generator).argsort(1)
    return Places(index_NT=order_NP[:, :each], height=height, width=width)


def windows_at(x_batches: Sequence[Tensor], window: Window, places: Places) -> Tensor:
    """`x_CKT`: the K values that each place's window holds, by channel; T runs over images, then places."""
    parts, first = [], 0
    for x_NCHW in x_batches:
        parts.append(_windows(x_NCHW, window, places.index_NT[first : first + len(x_NCHW)], places.width))
        first += len(x_NCHW)
    return torch.cat(parts, 2)


def _windows(x_NCHW: Tensor, window: Window, index_NT: Tensor, width: int) -> Tensor:
    (high, wide), (down, across) = window.kernel, window.padding
    padded_NCHW = F.pad(x_NCHW, (across, across, down, down))
    top_NT = (index_NT // width) * window.stride[0]
    left_NT = (index_NT % width) * window.stride[1]
    rows = top_NT[:, :, None, None] + (torch.arange(high) * window.dilation[0])[:, None]
    columns = left_NT[:, :, None, None] + torch.arange(wide) * window.dilation[1]
    images = torch.arange(len(x_NCHW))[:, None, None, None]
    x_NTHWC = padded_NCHW.permute(0, 2, 3, 1)[images, rows, columns]
    return x_NTHWC.permute(4, 2, 3, 0, 1).reshape(x_NCHW.shape[1], high * wide, -1)


def window_of(layer: nn.Conv2d) -> Window | None:
    """None where it does not pad with as many zeros on both sides."""
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    return Window(
        kernel=(layer.kernel_size[0], layer.kernel_size[1]),
        stride=(layer.stride[0], layer.stride[1]),
        padding=(layer.padding[0], layer.padding[1]),
        dilation=(layer.dilation[0], layer.dilation[1]),
    )
