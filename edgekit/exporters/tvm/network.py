"""An ONNX file as a Relax module with pictures channels last, products of constants replaced by our kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.exporters.tvm.cpu import Cpu
from edgekit.exporters.tvm.kernels import kernel, packed
from edgekit.exporters.tvm.tile import Kind, Tile, Workload

Array = npt.NDArray[Any]
ChooseTile = Callable[[Workload], Tile]

# TVM's number for an operator whose result what follows it element by element can be computed with.
_FUSIBLE_OUTPUT = 4
_PERMUTE, _RESHAPE, _CONVOLUTION, _MATMUL = "relax.permute_dims", "relax.reshape", "relax.nn.conv2d", "relax.matmul"
_SUBTRACT, _MULTIPLY, _CAST = "relax.subtract", "relax.multiply", "relax.astype"
_ELEMENTWISE = frozenset(
    f"relax.{name}" for name in ("add", "astype", "maximum", "minimum", "multiply", "nn.relu", "round", "subtract")
)
_TRANSPOSED_CONVOLUTION = "relax.nn.conv2d_transpose"
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
    module = _rewritten(module, lambda each: _spelt_out(each, activations))
    module = transform.ConvertLayout({_CONVOLUTION: ["NHWC", "OHWI"]})(module)
    module = _rewritten(module, _channels_first_where_transposed)
    module = transform.Normalize()(module)
    module = _rewritten(module, _folded)
    return relax.transform.DeadCodeElimination()(module)


def with_kernels(module: Any, cpu: Cpu, choose: ChooseTile) -> Any:
    """Convolutions and dense layers with constant weights become the kernels of their tiles; all is fused as far as it can be."""
    from tvm.relax import transform

    module = _rewritten(module, lambda each: _replaced(each, cpu, choose))
    for each in (
        transform.DeadCodeElimination(),
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination(),
    ):
        module = each(module)
    return module


def workloads_of(module: Any) -> list[Workload]:
    """Those that `with_kernels` asks a tile for, each once."""
    return list(dict.fromkeys(workload for _, workload in products_of(module) if workload is not None))


def products_of(module: Any) -> list[tuple[str, Workload | None]]:
    """Operators that sum products of two tensors, by TVM's names, and what of each `with_kernels` makes one of our kernels."""
    found = []

    def note(each: _Call) -> None:
        product = _product_of(each)
        if product is not None or each.name == _MATMUL or each.name.startswith("relax.nn.conv"):
            found.append((each.name.removeprefix("relax."), None if product is None else product.workload))

    _rewritten(module, note)
    return found


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """A call of an operator, with what its arguments are bound to."""

    call: Any
    name: str
    value: Callable[[Any], Any]
    builder: Any

    def argument(self, index: int) -> _Call | None:
        """The call that an argument stands for."""
        return self.of(self.call.args[index])

    def of(self, expression: Any) -> _Call | None:
        """The call that an expression stands for."""
        from tvm import ir, relax

        found = self.value(expression)
        if not (isinstance(found, relax.Call) and isinstance(found.op, ir.Op)):
            return None
        return _Call(call=found, name=found.op.name, value=self.value, builder=self.builder)

    def constant(self, expression: Any) -> Array | None:
        from tvm import relax

        found = self.value(expression)
        return np.asarray(found.data.numpy()) if isinstance(found, relax.Constant) else None

    def emit(self, expression: Any) -> Any:
        return self.builder.emit(expression)


def _rewritten(module: Any, rewrite: Callable[[_Call], Any]) -> Any:
    """Each call of an operator, in order, becomes what `rewrite` gives for it, and stays where that is None."""
    from tvm import ir, relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Rewriter(PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            call = self.visit_expr_post_order(call)
            if not isinstance(call.op, ir.Op):
                return call
            made = rewrite(_Call(call=call, name=call.op.name, value=self.value, builder=self.builder_))
            return call if made is None else made

        def value(self, expression: Any) -> Any:
            while isinstance(expression, relax.Var):
                found = self.lookup_binding(expression)
                if found is None:
                    return expression
                expression = found
            return expression

    rewriter = Rewriter(module)
    for variable, function in module.functions_items():
        if isinstance(function, relax.Function):
            rewriter.builder_.update_func(variable, rewriter.visit_expr(function))
    return rewriter.builder_.get()


def _spelt_out(each: _Call, activations: str) -> Any:
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
        y = each.emit(relax.op.round(each.emit(relax.op.multiply(x, _float(1 / scale.astype(np.float64))))))
        y = each.emit(relax.op.add(y, _float(zero_points))) if zero_points.any() else y
        y = each.emit(relax.op.maximum(y, _float(limits.min)))
        return relax.op.astype(each.emit(relax.op.minimum(y, _float(limits.max))), activations)
    y = each.emit(relax.op.astype(x, "float32"))
    y = each.emit(relax.op.subtract(y, _float(zero_points))) if zero_points.any() else y
    return relax.op.multiply(y, _float(scale))


def _clipped(each: _Call) -> Any:
    """Limits as two comparisons, of which TVM knows that they leave the layout as it is; its importer writes Clip as functions."""
    from tvm import relax

    if each.name == _CLIP:
        x, lower, upper = each.call.args
        y = each.emit(relax.op.maximum(x, _float(lower.value)))
        return relax.op.minimum(y, _float(upper.value))
    function, arguments = each.call.args
    make = next((make for name, make in _limits().items() if function.name_hint.startswith(name)), None)
    if make is None or len(arguments) != 2:
        return None
    x, limit = arguments
    chosen = each.of(limit)  # against limits that are no numbers: where(isnan(limit), infinity, limit)
    stored = each.constant(limit if chosen is None or chosen.name != _WHERE else chosen.call.args[2])
    return None if stored is None or stored.size > 1 else make(x, _float(stored))


def _limits() -> dict[str, Callable[[Any, Any], Any]]:
    from tvm import relax

    return {"maximum": relax.op.maximum, "minimum": relax.op.minimum}


def _channels_first_where_transposed(each: _Call) -> Any:
    """Transposed convolutions as TVM has them; changing the layout of others has changed theirs."""
    from tvm import relax

    attrs = each.call.attrs
    if each.name != _TRANSPOSED_CONVOLUTION or attrs.data_layout != "NHWC":
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


def _along_axis(each: _Call, x: Any, scale: Array) -> list[int]:
    """The shape in which scales of one axis of `x` are multiplied with it."""
    rank = len(x.ty.shape)
    axis = int(each.call.attrs.axis) % max(rank, 1)
    return [-1 if index == axis and scale.size > 1 else 1 for index in range(rank)]


def _stored_weights(each: _Call, w: Array, scale: Array, zero: Array) -> Any:
    """Symmetric ones stay integers times their scales, from which `_integers` takes them; others become float32."""
    from tvm import relax

    shape = _along_axis(each, each.call.args[0], scale)
    scale, zero = scale.reshape(shape).astype(np.float32), zero.reshape(shape if zero.size > 1 else [1] * w.ndim)
    if np.any(zero) or w.dtype != np.int8:
        return relax.const(((w.astype(np.float32) - zero) * scale).astype(np.float32))
    return relax.op.multiply(each.emit(relax.op.astype(relax.const(w), "float32")), relax.const(scale))


def _folded(each: _Call) -> Any:
    """Without changes of layout of constants, and of what another such change has brought about."""
    from tvm import relax

    if each.name == _RESHAPE and (stored := each.constant(each.call.args[0])) is not None:
        return relax.const(stored.reshape([int(length) for length in each.call.ty.shape]))
    if each.name in _ELEMENTWISE:
        return _before_permuting(each)
    if each.name != _PERMUTE:
        return None
    order = _order(each)
    if (stored := each.constant(each.call.args[0])) is not None:
        return relax.const(np.ascontiguousarray(stored.transpose(order)))
    before = each.argument(0)
    if before is not None and before.name == _PERMUTE and [_order(before)[axis] for axis in order] == sorted(order):
        return before.call.args[0]
    return None


def _before_permuting(each: _Call) -> Any:
    """The same element by element before the layout of its first argument was changed, so that changes of layout meet."""
    from tvm import relax

    permuting, others = each.argument(0), [each.constant(other) for other in each.call.args[1:]]
    if permuting is None or permuting.name != _PERMUTE or any(other is None or other.size > 1 for other in others):
        return None
    numbers = [relax.const(other.reshape(())) for other in others if other is not None]
    inner = relax.Call(each.call.op, [permuting.call.args[0], *numbers], each.call.attrs)
    return relax.op.permute_dims(each.emit(inner), _order(permuting))


def _order(permuting: _Call) -> list[int]:
    axes = permuting.call.attrs.axes
    if axes is None:
        return list(reversed(range(len(permuting.call.ty.shape))))
    return [int(axis) for axis in axes]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Product:
    """A workload on the activations `x`. `w` lies as `kernels.packed` takes it.

    Of integers, a sum is worth `scale_O` times what is left when `zero_point` is taken from every activation.
    """

    workload: Workload
    x: Any
    w: Array
    scale_O: Array | None = None
    zero_point: int = 0


def _replaced(each: _Call, cpu: Cpu, choose: ChooseTile) -> Any:
    """A product of activations and constants by our kernel."""
    from tvm import relax

    product = _product_of(each)
    if product is None:
        return None
    workload, tile = product.workload, choose(product.workload)
    sums = each.builder.call_te(
        kernel(workload, tile, cpu, padding_value=product.zero_point),
        product.x,
        relax.const(packed(product.w, workload, tile, cpu)),
        primfunc_name_hint=workload.kind,
        primfunc_attrs={"op_pattern": _FUSIBLE_OUTPUT},
    )
    if product.scale_O is None:
        return sums
    outputs_first = product.w.T if workload.kind == "dense" else product.w
    surplus_O = product.zero_point * outputs_first.reshape(workload.out_channels, -1).astype(np.int32).sum(1)
    if surplus_O.any():
        sums = relax.op.subtract(each.emit(sums), relax.const(surplus_O.astype(np.int32)))
    return relax.op.multiply(each.emit(relax.op.astype(each.emit(sums), "float32")), relax.const(product.scale_O))


def _product_of(each: _Call) -> _Product | None:
    if each.name == _CONVOLUTION:
        return _convolution_of(each)
    if each.name == _MATMUL and len(each.call.args[0].ty.shape) == 2:
        return _dense_of(each)
    return None


def _convolution_of(each: _Call) -> _Product | None:
    attrs, (x, w) = each.call.attrs, each.call.args
    if (attrs.data_layout, attrs.kernel_layout) != ("NHWC", "OHWI"):
        return None
    given, out = _lengths(x), _lengths(each.call)
    channels, groups, (o, *kernel_size, per_group) = given[3], int(attrs.groups), _lengths(w)
    kind: Kind
    if groups == 1 and per_group == channels:
        kind = "convolution"
    elif groups == channels == o:
        kind = "depthwise"
    else:
        return None
    top, left, bottom, right = (int(length) for length in attrs.padding)
    return _with_values(
        each,
        Workload(
            kind=kind,
            precision="float32",
            height=given[1],
            width=given[2],
            channels=channels,
            out_height=out[1],
            out_width=out[2],
            out_channels=o,
            kernel=(kernel_size[0], kernel_size[1]),
            stride=(int(attrs.strides[0]), int(attrs.strides[1])),
            dilation=(int(attrs.dilation[0]), int(attrs.dilation[1])),
            padding=(top, left, bottom, right),
        ),
    )


def _dense_of(each: _Call) -> _Product | None:
    x, w = each.call.args
    (rows, channels), out = _lengths(x), _lengths(w)
    if rows != 1 or len(out) != 2:
        return None
    return _with_values(
        each,
        Workload(
            kind="dense",
            precision="float32",
            height=1,
            width=1,
            channels=channels,
            out_height=1,
            out_width=1,
            out_channels=out[1],
        ),
    )


def _with_values(each: _Call, workload: Workload) -> _Product | None:
    """In integers where both factors are; None where the weights are no constants."""
    x, w = each.call.args
    if (stored := each.constant(w)) is not None:
        return _Product(workload=workload, x=x, w=stored.astype(np.float32))
    quantised_w = _integers(each.argument(1))
    if quantised_w is None:
        return None
    integers, scale = quantised_w
    activations = _quantised(each.argument(0))
    if activations is None:
        return _Product(workload=workload, x=x, w=(integers * scale).astype(np.float32))
    x_quantised, x_scale, zero_point = activations
    if x_scale.size > 1 and workload.kind != "depthwise":
        return _Product(workload=workload, x=x, w=(integers * scale).astype(np.float32))
    return _Product(
        workload=replace(workload, precision="int8"),
        x=x_quantised,
        w=integers,
        scale_O=np.broadcast_to(scale.reshape(-1) * x_scale, (workload.out_channels,)).astype(np.float32),
        zero_point=zero_point,
    )


def _integers(each: _Call | None) -> tuple[Array, Array] | None:
    """(int8 weights, scales) of `_stored_weights`, laid out as they are used."""
    order: list[int] | None = None
    while each is not None and each.name == _PERMUTE:
        if order is not None:
            return None
        order, each = _order(each), each.argument(0)
    if each is None or each.name != _MULTIPLY:
        return None
    cast, scale = each.argument(0), each.constant(each.call.args[1])
    if cast is None or cast.name != _CAST or scale is None:
        return None
    stored = each.constant(cast.call.args[0])
    if stored is None or stored.dtype != np.int8 or stored.min() == np.iinfo(np.int8).min:
        return None  # the product of -128 with itself leaves no room for another in 16 bits
    return (stored, scale) if order is None else (stored.transpose(order), scale.transpose(order))


def _quantised(each: _Call | None) -> tuple[Any, Array, int] | None:
    """(integers, scales, zero point) of activations that `_spelt_out` has dequantised, and whose layout may have changed since."""
    from tvm import relax

    if each is not None and each.name == _PERMUTE:
        moved = _quantised(each.argument(0))
        if moved is None or moved[1].size > 1:
            return None
        return each.emit(relax.op.permute_dims(moved[0], _order(each))), *moved[1:]
    if each is None or each.name != _MULTIPLY:
        return None
    scale, zero_point, before = each.constant(each.call.args[1]), 0, each.argument(0)
    if before is not None and before.name == _SUBTRACT:
        stored = before.constant(before.call.args[1])
        if stored is None or len(np.unique(stored)) > 1:
            return None  # what pads the input would differ between channels
        zero_point, before = int(stored.flat[0]), before.argument(0)
    if before is None or before.name != _CAST or scale is None:
        return None
    x = before.call.args[0]
    return (x, scale.reshape(-1), zero_point) if x.ty.dtype in ("int8", "uint8") else None


def _lengths(expression: Any) -> list[int]:
    return [int(length) for length in expression.ty.shape]


def _float(value: Any) -> Any:
    from tvm import relax

    return relax.const(np.float32(value))
