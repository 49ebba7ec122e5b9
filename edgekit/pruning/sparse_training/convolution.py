"""Convolution by the kept weights alone, forth and back, in pieces of a few samples and rows.

Of a piece the patches are laid out as a matrix (C * kernel, positions), rows contiguous. Forth, a row of the output is the sum
of few rows of it; back, a row of its gradient is the sum of few rows of the output's, and the gradient of a kept weight is the
dot product of two rows. These are the kernels of an embedding bag, which run without MKL too. A linear layer is a 1x1
convolution at a single position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

PIECE = 2**18
"""Elements of a piece's patches at most, and as many as the input has, where a single row of output positions has no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """Where the kept weights of a matrix (O, C * kernel) stand, in int32, sorted by row and by column.

    A bag of rows ends where the next starts. Groups are blocks on the diagonal.
    """

    row_A: Tensor
    column_A: Tensor
    row_start_O: Tensor
    order_A: Tensor
    column_start_C: Tensor

    @classmethod
    def of(cls, index_A: Tensor, shape: torch.Size, groups: int) -> Pattern:
        """`index_A`: flat positions in a weight of `shape` (O, C / groups, ...), ascending."""
        outputs, inputs = shape[0], math.prod(shape[1:])
        row_A = index_A // inputs
        column_A = index_A % inputs + row_A // (outputs // groups) * inputs
        columns = torch.arange(inputs * groups, device=index_A.device)
        order_A = column_A.argsort(stable=True)
        return cls(
            row_A=row_A.int(),
            column_A=column_A.int(),
            row_start_O=torch.searchsorted(row_A, torch.arange(outputs, device=index_A.device)).int(),
            order_A=order_A.int(),
            column_start_C=torch.searchsorted(column_A[order_A], columns).int(),
        )

    def index_A(self, inputs: int, outputs_of_group: int) -> Tensor:
        """The reverse of `of`, where a row of the weight has `inputs` elements."""
        row_A = self.row_A.long()
        return row_A * inputs + self.column_A - row_A // outputs_of_group * inputs


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """Height before width; `padding` as F.pad takes it: left, right, top, bottom."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output(self, x_NCHW: Tensor) -> tuple[int, int]:
        left, right, top, bottom = self.padding
        sizes = (x_NCHW.shape[2] + top + bottom, x_NCHW.shape[3] + left + right)
        height, width = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(sizes, self.kernel, self.stride, self.dilation, strict=True)
        )
        return height, width

    def windows(self, padded_NCHW: Tensor) -> Tensor:
        """A view (C, kernel height, kernel width, N, height, width) of all patches."""
        n, c, h, w = padded_NCHW.stride()
        height, width = Geometry(kernel=self.kernel, stride=self.stride, dilation=self.dilation).output(padded_NCHW)
        return padded_NCHW.as_strided(
            (padded_NCHW.shape[1], *self.kernel, padded_NCHW.shape[0], height, width),
            (c, h * self.dilation[0], w * self.dilation[1], n, h * self.stride[0], w * self.stride[1]),
            padded_NCHW.storage_offset(),
        )


@dataclass(slots=True)
class Counter:
    """Multiply-accumulates that were executed."""

    macs: int = 0


class SparseConvolution(torch.autograd.Function):
    """`apply(x_NCHW, value_A, bias_O, pattern, geometry, counter)` -> y_NOHW."""

    @staticmethod
    def forward(
        ctx: Any,
        x_NCHW: Tensor,
        value_A: Tensor,
        bias_O: Tensor | None,
        pattern: Pattern,
        geometry: Geometry,
        counter: Counter,
    ) -> Tensor:
        ctx.save_for_backward(x_NCHW, value_A)
        ctx.pattern, ctx.geometry, ctx.counter = pattern, geometry, counter
        y_NOHW = x_NCHW.new_empty(len(x_NCHW), len(pattern.row_start_O), *geometry.output(x_NCHW))
        for samples, rows, window in _pieces(x_NCHW, geometry):
            patches_CP = window.reshape(math.prod(window.shape[:3]), -1)
            part_OP = _sums(patches_CP, pattern.column_A, pattern.row_start_O, value_A, counter)
            y_NOHW[samples, :, rows] = part_OP.unflatten(1, window.shape[3:]).transpose(0, 1)
        if bias_O is not None:
            y_NOHW += bias_O[:, None, None]
        return y_NOHW

    @staticmethod
    def backward(ctx: Any, gradient_NOHW: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x_NCHW, value_A = ctx.saved_tensors
        pattern, geometry, counter = ctx.pattern, ctx.geometry, ctx.counter
        needs_x, needs_value, needs_bias, *_ = ctx.needs_input_grad
        gradient_NCHW = torch.zeros_like(x_NCHW) if needs_x else None
        gradient_A = torch.zeros_like(value_A)
        row_A, sorted_A = pattern.row_A[pattern.order_A], value_A[pattern.order_A]
        for samples, rows, window in _pieces(x_NCHW, geometry):
            part_OP = gradient_NOHW[samples, :, rows].transpose(0, 1).reshape(gradient_NOHW.shape[1], -1)
            if needs_value:
                patches_CP = window.reshape(math.prod(window.shape[:3]), -1)
                gradient_A += _products(part_OP, patches_CP, pattern, counter)
                del patches_CP
            if gradient_NCHW is not None:
                patches_CP = _sums(part_OP, row_A, pattern.column_start_C, sorted_A, counter)
                _scatter(patches_CP, gradient_NCHW[samples], rows, geometry, window.shape)
        gradient_O = gradient_NOHW.sum((0, 2, 3)) if needs_bias else None
        return gradient_NCHW, gradient_A if needs_value else None, gradient_O, None, None, None


def _sums(x_BP: Tensor, source_A: Tensor, start_D: Tensor, value_A: Tensor, counter: Counter) -> Tensor:
    """(D, P): row d is the sum of value * x[source] over the entries from its start to the next."""
    counter.macs += len(value_A) * x_BP.shape[1]
    return F.embedding_bag(source_A, x_BP, start_D, mode="sum", per_sample_weights=value_A)


def _products(gradient_OP: Tensor, patches_CP: Tensor, pattern: Pattern, counter: Counter) -> Tensor:
    """Of each kept weight the dot product of its row and its column."""
    counter.macs += len(pattern.row_A) * patches_CP.shape[1]
    product_A: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        gradient_OP, patches_CP, pattern.column_A, pattern.row_start_O, pattern.row_A, 0
    )
    return product_A


def _pieces(x_NCHW: Tensor, geometry: Geometry) -> Iterator[tuple[slice, slice, Tensor]]:
    """Samples, rows of the output, and the view of their patches (C, kernel height, kernel width, N, height, width)."""
    height, width = geometry.output(x_NCHW)
    row = x_NCHW.shape[1] * math.prod(geometry.kernel) * width
    piece = min(PIECE, x_NCHW.numel())
    rows = max(1, min(height, piece // max(1, row)))
    samples = max(1, piece // max(1, row * height)) if rows == height else 1
    for first in range(0, len(x_NCHW), samples):
        some = slice(first, min(first + samples, len(x_NCHW)))
        windows = geometry.windows(F.pad(x_NCHW[some], geometry.padding))
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            yield some, slice(top, bottom), windows[..., top:bottom, :]


def _scatter(
    patches_CP: Tensor, gradient_NCHW: Tensor, rows: slice, geometry: Geometry, shape: tuple[int, ...]
) -> None:
    """Adds the patches' gradients where the patches were taken, in place; what falls into the padding is lost."""
    patches = patches_CP.view(shape)
    left, _, top, _ = geometry.padding
    for i in range(geometry.kernel[0]):
        for j in range(geometry.kernel[1]):
            first = rows.start * geometry.stride[0] + i * geometry.dilation[0] - top
            y, y_patch = _inside(first, shape[4], geometry.stride[0], gradient_NCHW.shape[2])
            x, x_patch = _inside(j * geometry.dilation[1] - left, shape[5], geometry.stride[1], gradient_NCHW.shape[3])
            gradient_NCHW[:, :, y, x].add_(patches[:, i, j, :, y_patch, x_patch].transpose(0, 1))


def _inside(first: int, count: int, stride: int, size: int) -> tuple[slice, slice]:
    """Of positions first, first + stride, ... those within 0 to size, and which of the `count` they are."""
    skipped = min(count, max(0, -(first // stride)))
    last = max(skipped, min(count, (size - 1 - first) // stride + 1))
    start = first + skipped * stride
    return slice(start, start + (last - skipped) * stride, stride), slice(skipped, last)
