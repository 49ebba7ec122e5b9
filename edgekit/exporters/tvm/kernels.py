"""Products of activations and packed weights as tensor expressions, and how weights are packed.

Activations are `x_NHWC` of batch 1, or `x_NC`. Weights lie as kernels read them, in blocks of a tile's channels, the last one
filled up with zeros; so sums have a block axis and an axis within the block, and are cut to the real channels afterwards. Sums of
integers are exact, in int32; those of float16 are float16, as the processors that multiply it add it up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.exporters.tvm.cpu import Cpu, DotProduct
from edgekit.exporters.tvm.tile import Tile, Workload

SUM = "weighted_sum"
TILE, KIND, PRECISION = "edgekit.tile", "edgekit.kind", "edgekit.precision"

# Of an activation and of a weight that go together into an instruction, and into one int32.
BYTES = 4

Array = npt.NDArray[Any]


def packed(w: Array, workload: Workload, tile: Tile, cpu: Cpu) -> Array:
    """Weights of a workload as its kernel reads them.

    `w` is `w_OHWI` of a convolution, `w_OHW1` of a depthwise one, `w_IO` of a dense layer; packed they are [O / B, H, W, I, B],
    [H, W, O / B, B] and [O / B, I, B] for blocks of B channels; bytes for an instruction that multiplies D of them at once
    [O / B, H, W, I / D, B, D] and [O / B, I / D, B, D], where the last two axes are [B / 4, 2, 4, 4] for `smlal`.
    """
    block = tile.channels
    if workload.kind == "depthwise":
        w_OHW = _filled(w[..., 0], block, axis=0)
        blocks = w_OHW.reshape(-1, block, *w_OHW.shape[1:])
        return np.ascontiguousarray(blocks.transpose(2, 3, 0, 1))
    w_OHWI = _filled(w if workload.kind == "convolution" else w.T[:, None, None, :], block, axis=0)
    dot = dot_product_of(workload, cpu)
    depth = 1 if dot is None else dot.depth
    w_OHWI = _filled(w_OHWI, depth, axis=3)
    _, rows, columns, channels = w_OHWI.shape
    blocks = w_OHWI.reshape(-1, block, rows, columns, channels // depth, depth).transpose(0, 2, 3, 4, 1, 5)
    if dot is None:
        blocks = blocks[..., 0]
    elif dot.depth > BYTES:
        blocks = blocks.reshape(*blocks.shape[:4], block // dot.channels, dot.channels, 2, BYTES).swapaxes(5, 6)
    return np.ascontiguousarray(blocks if workload.kind == "convolution" else blocks[:, 0, 0])


def packed_shape(workload: Workload, tile: Tile, cpu: Cpu) -> tuple[int, ...]:
    """Of what `packed` makes."""
    rows, columns = workload.kernel
    shapes = {
        "convolution": (workload.out_channels, rows, columns, workload.channels),
        "depthwise": (workload.out_channels, rows, columns, 1),
        "dense": (workload.channels, workload.out_channels),
    }
    return packed(np.zeros(shapes[workload.kind], np.int8), workload, tile, cpu).shape


def dot_product_of(workload: Workload, cpu: Cpu) -> DotProduct | None:
    """The instruction that the workload's kernel consists of; None where that is an ordinary product."""
    return dot_product_for(workload.kind, workload.precision, cpu)


def dot_product_for(kind: str, precision: str, cpu: Cpu) -> DotProduct | None:
    return cpu.dot_product if precision == "int8" and kind != "depthwise" else None


def kernel(workload: Workload, tile: Tile, cpu: Cpu, *, padding_value: int = 0) -> Callable[[Any, Any], Any]:
    """The tensor expression of a workload: (activations, packed weights) -> output, of int32 for integers.

    Beyond the borders of the input there is `padding_value`.
    """
    make = {"convolution": _convolution, "depthwise": _depthwise, "dense": _dense}[workload.kind]
    return make(workload, tile, dot_product_of(workload, cpu), padding_value)


def _convolution(
    workload: Workload, tile: Tile, dot: DotProduct | None, padding_value: int
) -> Callable[[Any, Any], Any]:
    def expression(x_NHWC: Any, w: Any) -> Any:
        from tvm import te

        steps = int(w.shape[3])
        x = _padded(x_NHWC, workload, steps * (dot.depth if dot else 1), padding_value)
        i, j = (te.reduce_axis((0, length), name) for name, length in zip("ij", workload.kernel, strict=True))
        axes = _reduced(steps, dot)

        def term(n: Any, h: Any, width: Any, o: Any, k: Any) -> Any:
            row, column = _position(workload, h, width, i, j)
            value = _value(lambda c: x[n, row, column, c], lambda *at: w[(o, i, j, *at)], axes, k)
            return te.sum(value, axis=[i, j, *axes])

        return _cropped(term, (1, workload.out_height, workload.out_width), w.shape[0], workload, tile)

    return expression


def _reduced(steps: int, dot: DotProduct | None) -> list[Any]:
    """The axes along the input's channels: `c`, then those within an instruction."""
    from tvm import te

    within = () if dot is None else (*((("g", 2),) if dot.depth > BYTES else ()), ("b", BYTES))
    return [te.reduce_axis((0, length), name) for name, length in (("c", steps), *within)]


def _value(x: Callable[[Any], Any], w: Callable[..., Any], axes: Sequence[Any], k: Any) -> Any:
    """One product, by the axes of `_reduced`."""
    match axes:
        case (c,):
            return _product(x(c), w(c, k))
        case (c, b):
            return _integer(x(c * BYTES + b)) * _integer(w(c, k, b))
        case (c, g, b):
            return _integer(x((c * 2 + g) * BYTES + b)) * _integer(w(c, k // BYTES, g, k % BYTES, b))
    raise TypeError(axes)


def _depthwise(
    workload: Workload, tile: Tile, _dot: DotProduct | None, padding_value: int
) -> Callable[[Any, Any], Any]:
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


def _dense(workload: Workload, tile: Tile, dot: DotProduct | None, _padding_value: int) -> Callable[[Any, Any], Any]:
    def expression(x_NC: Any, w: Any) -> Any:
        from tvm import te

        steps = int(w.shape[1])
        x = _filled_up(x_NC, steps * (dot.depth if dot else 1))
        axes = _reduced(steps, dot)

        def term(n: Any, o: Any, k: Any) -> Any:
            return te.sum(_value(lambda c: x[n, c], lambda *at: w[(o, *at)], axes, k), axis=axes)

        return _cropped(term, (1,), w.shape[0], workload, tile)

    return expression


def _position(workload: Workload, h: Any, w: Any, i: Any, j: Any) -> tuple[Any, Any]:
    (down, right), (between_rows, between_columns) = workload.stride, workload.dilation
    return h * down + i * between_rows, w * right + j * between_columns


def _cropped(term: Any, positions: Sequence[int], blocks: Any, workload: Workload, tile: Tile) -> Any:
    """The sums in blocks, annotated with what a schedule must know, then their real channels."""
    from tvm import te

    attributes = {TILE: tile.to_json(), KIND: workload.kind, PRECISION: workload.precision}
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
        return tirx.if_then_else(tirx.all(*inside), x_NHWC[n, h - top, w - left, c], tirx.const(value, x_NHWC.dtype))

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
    """Of integers in int16, which holds every product of two bytes one of which is signed; vectors of them are twice as long."""
    if str(x.dtype).startswith("float"):
        return x * w
    return (x.astype("int16") * w.astype("int16")).astype("int32")


def _integer(value: Any) -> Any:
    return value.astype("int32")


def _filled(w: Array, part: int, *, axis: int) -> Array:
    """With zeros up to a whole number of parts."""
    missing = -w.shape[axis] % part
    widths = [(0, missing if index == axis else 0) for index in range(w.ndim)]
    return np.pad(w, widths)
