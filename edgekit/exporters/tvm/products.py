"""Products of activations and constant weights in a Relax module, replaced by our kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekit.exporters.tvm.cpu import Cpu
from edgekit.exporters.tvm.kernels import kernel, packed
from edgekit.exporters.tvm.rewriting import (
    CAST,
    CONVOLUTION,
    MULTIPLY,
    PERMUTE,
    SUBTRACT,
    Array,
    Call,
    order_of,
    rewritten,
)
from edgekit.exporters.tvm.tile import Kind, Tile, Workload

ChooseTile = Callable[[Workload], Tile]

# TVM's number for an operator whose result what follows it element by element can be computed with.
_FUSIBLE_OUTPUT = 4
_MATMUL = "relax.matmul"


def with_kernels(module: Any, cpu: Cpu, choose: ChooseTile) -> Any:
    """Convolutions and dense layers with constant weights become the kernels of their tiles; all is fused as far as it can be."""
    from tvm.relax import transform

    module = rewritten(module, lambda each: _replaced(each, cpu, choose))
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

    def note(each: Call) -> None:
        product = _product_of(each)
        if product is not None or each.name == _MATMUL or each.name.startswith("relax.nn.conv"):
            found.append((each.name.removeprefix("relax."), None if product is None else product.workload))

    rewritten(module, note)
    return found


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


def _replaced(each: Call, cpu: Cpu, choose: ChooseTile) -> Any:
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


def _product_of(each: Call) -> _Product | None:
    if each.name == CONVOLUTION:
        return _convolution_of(each)
    if each.name == _MATMUL and len(each.call.args[0].ty.shape) == 2:
        return _dense_of(each)
    return None


def _convolution_of(each: Call) -> _Product | None:
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


def _dense_of(each: Call) -> _Product | None:
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


def _with_values(each: Call, workload: Workload) -> _Product | None:
    """In integers where both factors are; None where the weights are no constants."""
    x, w = each.call.args
    if (stored := each.constant(w)) is not None:
        is_half = stored.dtype == np.float16
        return _Product(workload=replace(workload, precision="float16" if is_half else "float32"), x=x, w=stored)
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


def _integers(each: Call | None) -> tuple[Array, Array] | None:
    """(int8 weights, scales) of `_stored_weights`, laid out as they are used."""
    order: list[int] | None = None
    while each is not None and each.name == PERMUTE:
        if order is not None:
            return None
        order, each = order_of(each), each.argument(0)
    if each is None or each.name != MULTIPLY:
        return None
    cast, scale = each.argument(0), each.constant(each.call.args[1])
    if cast is None or cast.name != CAST or scale is None:
        return None
    stored = each.constant(cast.call.args[0])
    if stored is None or stored.dtype != np.int8 or stored.min() == np.iinfo(np.int8).min:
        return None  # the product of -128 with itself leaves no room for another in 16 bits
    return (stored, scale) if order is None else (stored.transpose(order), scale.transpose(order))


def _quantised(each: Call | None) -> tuple[Any, Array, int] | None:
    """(integers, scales, zero point) of activations that `_spelt_out` has dequantised, and whose layout may have changed since."""
    from tvm import relax

    if each is not None and each.name == PERMUTE:
        moved = _quantised(each.argument(0))
        if moved is None or moved[1].size > 1:
            return None
        return each.emit(relax.op.permute_dims(moved[0], order_of(each))), *moved[1:]
    if each is None or each.name != MULTIPLY:
        return None
    scale, zero_point, before = each.constant(each.call.args[1]), 0, each.argument(0)
    if before is not None and before.name == SUBTRACT:
        stored = before.constant(before.call.args[1])
        if stored is None or len(np.unique(stored)) > 1:
            return None  # what pads the input would differ between channels
        zero_point, before = int(stored.flat[0]), before.argument(0)
    if before is None or before.name != CAST or scale is None:
        return None
    x = before.call.args[0]
    return (x, scale.reshape(-1), zero_point) if x.ty.dtype in ("int8", "uint8") else None


def _lengths(expression: Any) -> list[int]:
    return [int(length) for length in expression.ty.shape]
