"""Convolutions pad as TFLite's SAME does, against its definition: ceil(size / stride) outputs, more padding at the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgekit.supernet.convolution import convolve, same_padding


def reference(x_CHW: NDArray[np.float64], w_OIHW: NDArray[np.float64], stride: int, groups: int) -> NDArray[np.float64]:
    """Position by position."""
    _, height, width = x_CHW.shape
    out_channels, in_channels, kernel, _ = w_OIHW.shape
    outs, starts = [], []
    for size in (height, width):
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        outs.append(out)
        starts.append(-(total // 2))
    y_OHW = np.zeros((out_channels, *outs))
    for o in range(out_channels):
        first = o // (out_channels // groups) * in_channels
        for row, column, i, j in np.ndindex(*outs, kernel, kernel):
            r, c = starts[0] + row * stride + i, starts[1] + column * stride + j
            if 0 <= r < height and 0 <= c < width:
                y_OHW[o, row, column] += x_CHW[first : first + in_channels, r, c] @ w_OIHW[o, :, i, j]
    return y_OHW


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (4, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2), (2, 2), (4, 2)])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_is_that_of_tflite(size: tuple[int, int], kernel: int, stride: int, groups: int) -> None:
    rng = np.random.default_rng(kernel * 10 + stride)
    x_CHW = rng.normal(size=(4, *size))
    w_OIHW = rng.normal(size=(4, 4 // groups, kernel, kernel))
    y_NCHW = convolve(torch.from_numpy(x_CHW[None]), torch.from_numpy(w_OIHW), stride, groups=groups)
    np.testing.assert_allclose(y_NCHW[0].numpy(), reference(x_CHW, w_OIHW, stride, groups), rtol=1e-9, atol=1e-9)


def test_padding_at_stride_2_is_not_symmetric() -> None:
    assert same_padding(3, 2) == (0, 1, 0, 1)
    assert same_padding(5, 2) == (1, 2, 1, 2)
    assert same_padding(5, 1) == (2, 2, 2, 2)
