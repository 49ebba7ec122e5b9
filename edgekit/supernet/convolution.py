"""Convolutions that pad as TFLite does, and how their weights begin."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


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
