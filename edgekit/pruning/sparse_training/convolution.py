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
"""Elements of a piece's patches at most, where a single row of output positions has no more; an eighth for small inputs."""


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

    def positions(self, inputs: int, outputs_of_group: int) -> Tensor:
        """The reverse of `of` (A,), where a row of the weight has `inputs` elements."""
        row_A = self.row_A.long()
        return row_A * inputs + self.column_A - row_A // outputs_of_group * inputs


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """Height before width; `padding` as F.pad takes it: left, right, top, bottom."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output(self, shape: torch.Size) -> tuple[int, int]:
        left, right, top, bottom = self.padding
        sizes = (shape[2] + top + bottom, shape[3] + left + right)
        height, width = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(sizes, self.kernel, self.stride, self.dilation, strict=True)
        )
        return height, width

    def patches(self, padded_NCHW: Tensor, rows: slice) -> Tensor:
        """(C * kernel, positions): a copy of what some rows of the output are made of."""
        windows = self._windows(padded_NCHW, rows)
        return windows.reshape(math.prod(windows.shape[:3]), -1)

    def scatter(self, patches_CP: Tensor, padded_NCHW: Tensor, rows: slice) -> None:
        """Adds patches in place, there where they would be taken."""
        windows = self._windows(padded_NCHW, rows)
        patches = patches_CP.view(windows.shape)
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                windows[:, i, j].add_(patches[:, i, j])

    def _windows(self, padded_NCHW: Tensor, rows: slice) -> Tensor:
        """A view (C, kernel height, kernel width, N, height, width)."""
        n, c, h, w = padded_NCHW.stride()
        width = (padded_NCHW.shape[3] - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.stride[1] + 1
        return padded_NCHW.as_strided(
            (padded_NCHW.shape[1], *self.kernel, len(padded_NCHW), rows.stop - rows.start, width),
            (c, h * self.dilation[0], w * self.dilation[1], n, h * self.stride[0], w * self.stride[1]),
            padded_NCHW.storage_offset() + rows.start * self.stride[0] * h,
        )


@dataclass(slots=True)
class Counter:
    """Multiply-accumulates that were executed."""

    macs: int = 0


def convolved(
    x_NCHW: Tensor, value_A: Tensor, bias_O: Tensor | None, pattern: Pattern, geometry: Geometry, counter: Counter
) -> Tensor:
    """y_NOHW; differentiable."""
    y_NOHW: Tensor = SparseConvolution.apply(  # type: ignore[no-untyped-call]
        x_NCHW, value_A, bias_O, pattern, geometry, counter
    )
    return y_NOHW


class SparseConvolution(torch.autograd.Function):
    """What `convolved` applies."""

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
        y_NOHW = x_NCHW.new_empty(len(x_NCHW), len(pattern.row_start_O), *geometry.output(x_NCHW.shape))
        for samples, rows in _pieces(x_NCHW.shape, geometry):
            padded_NCHW = F.pad(x_NCHW[samples], geometry.padding)
            for some in rows:
                patches_CP = geometry.patches(padded_NCHW, some)
                part_OP = _sums(patches_CP, pattern.column_A, pattern.row_start_O, value_A, counter)
                part_NOHW = y_NOHW[samples, :, some]
                part_NOHW.copy_(part_OP.view(y_NOHW.shape[1], len(part_NOHW), *part_NOHW.shape[2:]).transpose(0, 1))
        if bias_O is not None:
            y_NOHW += bias_O[:, None, None]
        return y_NOHW

    @staticmethod
    def backward(ctx: Any, gradient_NOHW: Tensor) -> tuple[Tensor | None, ...]:
        x_NCHW, value_A = ctx.saved_tensors
        needs_x, needs_value, needs_bias, *_ = ctx.needs_input_grad
        gradient_A = gradient_NCHW = None
        # One after the other, so that the input and its gradient are not there at the same time.
        if needs_value:
            gradient_A = _gradient_of_values(x_NCHW, gradient_NOHW, ctx.pattern, ctx.geometry, ctx.counter)
        shape = x_NCHW.shape
        del x_NCHW
        if needs_x:
            gradient_NCHW = _gradient_of_input(shape, gradient_NOHW, value_A, ctx.pattern, ctx.geometry, ctx.counter)
        gradient_O = gradient_NOHW.sum((0, 2, 3)) if needs_bias else None
        return gradient_NCHW, gradient_A, gradient_O, None, None, None


def _gradient_of_values(
    x_NCHW: Tensor, gradient_NOHW: Tensor, pattern: Pattern, geometry: Geometry, counter: Counter
) -> Tensor:
    gradient_A = x_NCHW.new_zeros(len(pattern.row_A))
    for samples, rows in _pieces(x_NCHW.shape, geometry):
        padded_NCHW = F.pad(x_NCHW[samples], geometry.padding)
        for some in rows:
            part_OP = _positions(gradient_NOHW[samples, :, some])
            gradient_A += _products(part_OP, geometry.patches(padded_NCHW, some), pattern, counter)
    return gradient_A


def _gradient_of_input(
    shape: torch.Size,
    gradient_NOHW: Tensor,
    value_A: Tensor,
    pattern: Pattern,
    geometry: Geometry,
    counter: Counter,
) -> Tensor:
    row_A, value_A = pattern.row_A[pattern.order_A], value_A[pattern.order_A]
    gradient_NCHW = gradient_NOHW.new_empty(shape)
    for samples, rows in _pieces(shape, geometry):
        part_NCHW = gradient_NCHW[samples]
        padded_NCHW = F.pad(part_NCHW, geometry.padding).zero_()
        for some in rows:
            part_OP = _positions(gradient_NOHW[samples, :, some])
            geometry.scatter(_sums(part_OP, row_A, pattern.column_start_C, value_A, counter), padded_NCHW, some)
        # What was added to the padding is lost.
        left, _, top, _ = geometry.padding
        part_NCHW.copy_(padded_NCHW[:, :, top : top + shape[2], left : left + shape[3]])
    return gradient_NCHW


def _positions(y_NOHW: Tensor) -> Tensor:
    """(O, positions), rows contiguous."""
    return y_NOHW.transpose(0, 1).reshape(y_NOHW.shape[1], -1)


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


def _pieces(shape: torch.Size, geometry: Geometry) -> Iterator[tuple[slice, list[slice]]]:
    """Some samples, and the rows of their output that go together."""
    height, width = geometry.output(shape)
    piece = min(PIECE, max(PIECE // 8, shape.numel()))
    row = max(1, shape[1] * math.prod(geometry.kernel) * width)
    step = max(1, min(height, piece // row))
    rows = [slice(top, min(top + step, height)) for top in range(0, height, step)]
    samples = max(1, piece // (row * height)) if len(rows) == 1 else 1
    for first in range(0, shape[0], samples):
        yield slice(first, first + samples), rows
