"""Products of activations and packed weights as tensor expressions, and how weights are packed for them.

Activations are `x_NHWC` of batch 1, or `x_NC`. Weights lie as kernels read them, in blocks of a tile's channels, the last one filled
up with zeros; so a sum has a block axis and an axis within the block, and is cut to the real channels afterwards. Sums of integers
are exact, in int32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.exporters.tvm.cpu import Cpu
from edgekit.exporters.tvm.tile import Tile, Workload

SUM = "weighted_sum"
TILE, WORKLOAD_KIND, PRECISION = "edgekit.tile", "edgekit.kind", "edgekit.precision"
# A dot product multiplies so many bytes for each int32.
BYTES = 4

Array = npt.NDArray[Any]


def packed(w: Array, workload: Workload, tile: Tile, cpu: Cpu) -> Array:
    """Weights of a workload as its kernel reads them.

    `w` is `w_OHWI` of a convolution, `w_OHW1` of a depthwise one, `w_IO` of a dense layer; packed they are [O / B, H, W, I, B],
    [H, W, O / B, B] and [O / B, I, B] for blocks of B channels; bytes for a dot product [O / B, H, W, I / 4, B, 4] and
    [O / B, I / 4, B, 4].
    """
    block = tile.channels
    if workload.kind == "depthwise":
        w_OHW = _filled(w[..., 0], block, axis=0)
        blocks = w_OHW.reshape(-1, block, *w_OHW.shape[1:])
        return np.ascontiguousarray(blocks.transpose(2, 3, 0, 1))
    w_OHWI = w if workload.kind == "convolution" else w.T[:, None, None, :]
    w_OHWI = _filled(w_OHWI, block, axis=0)
    if uses_dot_product(workload, cpu):
        w_OHWI = _filled(w_OHWI, BYTES, axis=3)
        rows, columns = w_OHWI.shape[1:3]
        blocks = w_OHWI.reshape(-1, block, rows, columns, w_OHWI.shape[3] // BYTES, BYTES).transpose(0, 2, 3, 4, 1, 5)
    else:
        blocks = w_OHWI.reshape(-1, block, *w_OHWI.shape[1:]).transpose(0, 2, 3, 4, 1)
    return np.ascontiguousarray(blocks if workload.kind == "convolution" else blocks[:, 0, 0])


def uses_dot_product(workload: Workload, cpu: Cpu) -> bool:
    return workload.precision == "int8" and workload.kind != "depthwise" and cpu.dot_product is not None


def kernel(workload: Workload, tile: Tile, cpu: Cpu, *, padding_value: int = 0) -> Callable[[Any, Any], Any]:
    """The tensor expression of a workload: (activations, packed weights) -> output, of int32 for integers.

    Beyond the borders of the input there is `padding_value`.
    """
    make = {"convolution": _convolution, "depthwise": _depthwise, "dense": _dense}[workload.kind]
    return make(workload, tile, uses_dot_product(workload, cpu), padding_value)


def _convolution(workload: Workload, tile: Tile, dots: bool, padding_value: int) -> Callable[[Any, Any], Any]:
    def expression(x_NHWC: Any, w: Any) -> Any:
        from tvm import te

        depth = int(w.shape[3]) * (BYTES if dots else 1)
        x = _padded(x_NHWC, workload, depth, padding_value)
        i, j = (te.reduce_axis((0, length), name) for name, length in zip("ij", workload.kernel, strict=True))
        c = te.reduce_axis((0, int(w.shape[3])), "c")
        b = te.reduce_axis((0, BYTES), "b")

        def term(n: Any, h: Any, width: Any, o: Any, k: Any) -> Any:
            at = (*(n, *_position(workload, h, width, i, j)),)
            if dots:
                return te.sum(_integer(x[(*at, c * BYTES + b)]) * _integer(w[o, i, j, c, k, b]), axis=[i, j, c, b])
            return te.sum(_product(x[(*at, c)], w[o, i, j, c, k]), axis=[i, j, c])

        return _cropped(term, (1, workload.out_height, workload.out_width), w.shape[0], workload, tile)

    return expression


def _depthwise(workload: Workload, tile: Tile, _dots: bool, padding_value: int) -> Callable[[Any, Any], Any]:
    def expression(x_NHWC: Any, w_HWOB: Any) -> Any:
        from tvm import te

        blocks = int(w_HWOB.shape[2])
        x = _padded(x_NHWC, workload, blocks * tile.channels, padding_value)
        i, j = (te.reduce_axis((0, length), name) for name, length in zip("ij", workload.kernel, strict=True))

        def term(n: Any, h: Any, width: Any, o: Any, k: Any) -> Any:
            at = (n, *_position(workload, h, width, i, j), o * tile.channels + k)
            return te.sum(_product(x[at], w_HWOB[i, j, o, k]), axis=[i, j])

        return _cropped(term, (1, workload.out_height, workload.out_width), blocks, workload, tile)

    return expression


def _dense(workload: Workload, tile: Tile, dots: bool, _padding_value: int) -> Callable[[Any, Any], Any]:
    def expression(x_NC: Any, w: Any) -> Any:
        from tvm import te

        x = _filled_up(x_NC, int(w.shape[1]) * (BYTES if dots else 1))
        c = te.reduce_axis((0, int(w.shape[1])), "c")
        b = te.reduce_axis((0, BYTES), "b")

        def term(n: Any, o: Any, k: Any) -> Any:
            if dots:
                return te.sum(_integer(x[n, c * BYTES + b]) * _integer(w[o, c, k, b]), axis=[c, b])
            return te.sum(_product(x[n, c], w[o, c, k]), axis=[c])

        return _cropped(term, (1,), w.shape[0], workload, tile)

    return expression


def _position(workload: Workload, h: Any, w: Any, i: Any, j: Any) -> tuple[Any, Any]:
    (down, right), (between_rows, between_columns) = workload.stride, workload.dilation
    return h * down + i * between_rows, w * right + j * between_columns


def _cropped(term: Any, positions: Sequence[int], blocks: Any, workload: Workload, tile: Tile) -> Any:
    """The sums in blocks, annotated with what a schedule must know, then their real channels."""
    from tvm import te

    attributes = {TILE: tile.to_json(), WORKLOAD_KIND: workload.kind, PRECISION: workload.precision}
    sums = te.compute((*positions, int(blocks), tile.channels), term, name=SUM, attrs=attributes)
    return te.compute(
        (*positions, workload.out_channels),
        lambda *at: sums[(*at[:-1], at[-1] // tile.channels, at[-1] % tile.channels)],
        name="real_channels",
    )


def _padded(x_NHWC: Any, workload: Workload, channels: int, value: int) -> Any:
    """With the workload's padding and so many channels; the same where it has both."""
    from tvm import te, tirx

    top, left, bottom, right = workload.padding
    if not any(workload.padding) and channels == workload.channels:
        return x_NHWC

    def at(n: Any, h: Any, w: Any, c: Any) -> Any:
        inside = [
            *([h >= top] if top else []),
            *([h < workload.height + top] if bottom else []),
            *([w >= left] if left else []),
            *([w < workload.width + left] if right else []),
            *([c < workload.channels] if channels > workload.channels else []),
        ]
        return tirx.if_then_else(
            tirx.all(*inside), x_NHWC[n, h - top, w - left, c], tirx.const(value, x_NHWC.dtype)
        )

    shape = (1, workload.height + top + bottom, workload.width + left + right, channels)
    return te.compute(shape, at, name="padded")


def _filled_up(x_NC: Any, channels: int) -> Any:
    from tvm import te, tirx

    present = int(x_NC.shape[1])
    if channels == present:
        return x_NC
    return te.compute(
        (1, channels),
        lambda n, c: tirx.if_then_else(c < present, x_NC[n, c], tirx.const(0, x_NC.dtype)),
        name="padded",
    )


def _product(x: Any, w: Any) -> Any:
    """Of two integers in 16 bits where they always fit: signed bytes; vectors of them are twice as long."""
    if x.dtype == "float32":
        return x * w
    if x.dtype == "int8":
        return (x.astype("int16") * w.astype("int16")).astype("int32")
    return _integer(x) * _integer(w)


def _integer(value: Any) -> Any:
    return value.astype("int32")


def _filled(w: Array, part: int, *, axis: int) -> Array:
    """With zeros up to a whole number of parts."""
    missing = -w.shape[axis] % part
    widths = [(0, missing if index == axis else 0) for index in range(w.ndim)]
    return np.pad(w, widths)
