"""An ONNX file as a Relax module with pictures channels last and integers spelt out, in which `products` finds what to replace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.exporters.tvm.rewriting import CONVOLUTION, PERMUTE, Array, Call, number, order_of, rewritten

_RESHAPE = "relax.reshape"
_ELEMENTWISE = frozenset(
    f"relax.{name}" for name in ("add", "astype", "maximum", "minimum", "multiply", "nn.relu", "round", "subtract")
)
_TRANSPOSED = "relax.nn.conv2d_transpose"
_CLIP, _CALL, _WHERE = "relax.clip", "relax.call_tir", "relax.where"
_QUANTIZE, _DEQUANTIZE = "relax.quantize", "relax.dequantize"


def channels_last(onnx: bytes, activations: str) -> Any:
    """The Relax module of an ONNX file of batch 1: `main`, float32 -> float32, channels last at both ends where they are of rank 4.

    Quantised tensors are spelt out as arithmetic on integers of the type `activations`. Raises whatever TVM raises for an operator
    that it does not know.
    """
    from tvm import relax
    from tvm.relax import transform
    from tvm.relax.frontend.onnx import from_onnx

    module = from_onnx(_with_channels_last_ends(onnx), keep_params_in_input=False)
    module = transform.DecomposeOpsForInference()(module)
    module = rewritten(module, lambda each: _spelt_out(each, activations))
    module = transform.ConvertLayout({CONVOLUTION: ["NHWC", "OHWI"]})(module)
    module = rewritten(module, _channels_first_where_transposed)
    module = transform.Normalize()(module)
    module = rewritten(module, _folded)
    return relax.transform.DeadCodeElimination()(module)


def _with_channels_last_ends(onnx: bytes) -> Any:
    import onnx as library
    from onnx import helper

    proto = library.ModelProto.FromString(onnx)
    graph = proto.graph
    (given,), (answer,) = graph.input, graph.output
    for value, order, place in ((given, (0, 3, 1, 2), 0), (answer, (0, 2, 3, 1), len(graph.node) + 1)):
        dims = value.type.tensor_type.shape.dim
        if len(dims) != len(order):
            continue
        inner = f"{value.name}:channels_first"
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [inner if name == value.name else name for name in names]
        ends = (value.name, inner) if value is given else (inner, value.name)
        graph.node.insert(place, helper.make_node("Transpose", [ends[0]], [ends[1]], perm=order))
        lengths = [dim.dim_value for dim in dims]
        for dim, axis in zip(dims, (0, 2, 3, 1), strict=True):
            dim.dim_value = lengths[axis]
    return proto


def _spelt_out(each: Call, activations: str) -> Any:
    """Quantised activations on the grid of `activations`: int8 and uint8 differ by 128 in every zero point, and in nothing else."""
    from tvm import relax

    if each.name in (_CLIP, _CALL):
        return _clipped(each)
    if each.name not in (_QUANTIZE, _DEQUANTIZE):
        return None
    x, *others = each.call.args
    scale, zero = (each.constant(other) for other in others)
    if scale is None or zero is None:
        return None
    stored = each.constant(x)
    if stored is not None:
        return _stored_weights(each, stored, scale, zero)
    zero_points = zero.astype(np.int32) + (np.iinfo(activations).min - np.iinfo(zero.dtype).min)
    shape = _along_axis(each, x, scale)
    scale, zero_points = scale.reshape(shape), zero_points.reshape(shape if zero.size > 1 else [1] * len(shape))
    if each.name == _QUANTIZE:
        limits = np.iinfo(activations)
        y = each.emit(relax.op.round(each.emit(relax.op.multiply(x, number(1 / scale.astype(np.float64))))))
        y = each.emit(relax.op.add(y, number(zero_points))) if zero_points.any() else y
        y = each.emit(relax.op.maximum(y, number(limits.min)))
        return relax.op.astype(each.emit(relax.op.minimum(y, number(limits.max))), activations)
    y = each.emit(relax.op.astype(x, "float32"))
    y = each.emit(relax.op.subtract(y, number(zero_points))) if zero_points.any() else y
    return relax.op.multiply(y, number(scale))


def _clipped(each: Call) -> Any:
    """Limits as two comparisons, of which TVM knows that they leave the layout as it is; its importer writes Clip as functions."""
    from tvm import relax

    if each.name == _CLIP:
        x, lower, upper = each.call.args
        y = each.emit(relax.op.maximum(x, number(lower.value)))
        return relax.op.minimum(y, number(upper.value))
    function, arguments = each.call.args
    make = next((make for name, make in _limits().items() if function.name_hint.startswith(name)), None)
    if make is None or len(arguments) != 2:
        return None
    x, limit = arguments
    chosen = each.of(limit)  # against limits that are no numbers: where(isnan(limit), infinity, limit)
    stored = each.constant(limit if chosen is None or chosen.name != _WHERE else chosen.call.args[2])
    return None if stored is None or stored.size > 1 else make(x, number(stored))


def _limits() -> dict[str, Callable[[Any, Any], Any]]:
    from tvm import relax

    return {"maximum": relax.op.maximum, "minimum": relax.op.minimum}


def _channels_first_where_transposed(each: Call) -> Any:
    """Transposed convolutions as TVM has them; changing the layout of others has changed theirs."""
    from tvm import relax

    attrs = each.call.attrs
    if each.name != _TRANSPOSED or attrs.data_layout != "NHWC":
        return None
    x, w = each.call.args
    y = relax.op.nn.conv2d_transpose(
        each.emit(relax.op.permute_dims(x, [0, 3, 1, 2])),
        w,
        strides=list(attrs.strides),
        padding=list(attrs.padding),
        output_padding=list(attrs.output_padding),
        dilation=list(attrs.dilation),
        groups=int(attrs.groups),
        data_layout="NCHW",
        kernel_layout=attrs.kernel_layout,
    )
    return relax.op.permute_dims(each.emit(y), [0, 2, 3, 1])


def _along_axis(each: Call, x: Any, scale: Array) -> list[int]:
    """The shape in which scales of one axis of `x` are multiplied with it."""
    rank = len(x.ty.shape)
    axis = int(each.call.attrs.axis) % max(rank, 1)
    return [-1 if index == axis and scale.size > 1 else 1 for index in range(rank)]


def _stored_weights(each: Call, w: Array, scale: Array, zero: Array) -> Any:
    """Symmetric ones stay integers times their scales, from which `products` takes them; others become float32."""
    from tvm import relax

    shape = _along_axis(each, each.call.args[0], scale)
    scale, zero = scale.reshape(shape).astype(np.float32), zero.reshape(shape if zero.size > 1 else [1] * w.ndim)
    if np.any(zero) or w.dtype != np.int8:
        return relax.const(((w.astype(np.float32) - zero) * scale).astype(np.float32))
    return relax.op.multiply(each.emit(relax.op.astype(relax.const(w), "float32")), relax.const(scale))


def _folded(each: Call) -> Any:
    """Without changes of layout of constants, and of what another such change has brought about."""
    from tvm import relax

    if each.name == _RESHAPE and (stored := each.constant(each.call.args[0])) is not None:
        return relax.const(stored.reshape([int(length) for length in each.call.ty.shape]))
    if each.name in _ELEMENTWISE:
        return _before_permuting(each)
    if each.name != PERMUTE:
        return None
    order = order_of(each)
    if (stored := each.constant(each.call.args[0])) is not None:
        return relax.const(np.ascontiguousarray(stored.transpose(order)))
    before = each.argument(0)
    if before is not None and before.name == PERMUTE and [order_of(before)[axis] for axis in order] == sorted(order):
        return before.call.args[0]
    return None


def _before_permuting(each: Call) -> Any:
    """The same element by element before the layout of its first argument was changed, so that changes of layout meet."""
    from tvm import relax

    permuting, others = each.argument(0), [each.constant(other) for other in each.call.args[1:]]
    if permuting is None or permuting.name != PERMUTE or any(other is None or other.size > 1 for other in others):
        return None
    numbers = [relax.const(other.reshape(())) for other in others if other is not None]
    inner = relax.Call(each.call.op, [permuting.call.args[0], *numbers], each.call.attrs)
    return relax.op.permute_dims(each.emit(inner), order_of(permuting))
