"""The ATen operators that a foreign network may consist of, and how one is called by the names of its schema.

Nothing else is ever looked up or run, so what a file asks for stays arithmetic on tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from edgekit.core.errors import ConversionError
from edgekit.networks.program import Dtype


def named(table: str) -> frozenset[str]:
    """The operators of a table in words; "relu" is "relu.default"."""
    return frozenset(name if "." in name else f"{name}.default" for name in table.split())


LAYERS: Final = named(
    """
    conv1d conv1d.padding conv2d conv2d.padding conv3d conv3d.padding convolution conv_transpose1d
    conv_transpose2d.input conv_transpose3d.input linear addmm mm matmul batch_norm
    _native_batch_norm_legit_no_training native_layer_norm layer_norm group_norm native_group_norm relu relu6
    hardtanh hardswish hardsigmoid silu sigmoid leaky_relu gelu tanh elu mish softplus prelu clamp max_pool1d
    max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d adaptive_max_pool2d flatten.using_ints
    """
)
"""Become modules where their weights are constant."""

ALIASES: Final = named(
    """
    alias clone contiguous detach detach_ dropout dropout_ feature_dropout native_dropout lift_fresh_copy
    lift_fresh
    """
)
"""Give what they get, in a network that is not being trained."""

VIEWS: Final = named("view reshape _unsafe_view")
"""All read as reshape, whose sizes are called `shape`."""

CASTS: Final = named(
    """
    to.dtype to.dtype_layout to.device _to_copy
    """
)

_FUNCTIONS: Final = named(
    """
    add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Scalar rsub.Tensor mul.Tensor mul.Scalar div.Tensor
    div.Scalar neg abs sqrt rsqrt exp log erf reciprocal sin cos floor square pow.Tensor_Scalar maximum minimum
    clamp_min clamp_max log1p log_sigmoid glu celu selu softshrink mean.dim mean sum.dim_IntList amax amin
    var.correction var_mean.correction std.correction argmax linalg_vector_norm softmax.int _softmax
    log_softmax.int _log_softmax view reshape _unsafe_view unflatten.int squeeze squeeze.dim squeeze.dims
    unsqueeze expand expand_as permute transpose.int t numpy_T movedim.int movedim.intlist swapaxes repeat cat
    concat stack split.Tensor split_with_sizes chunk unbind.int slice.Tensor select.int narrow index_select
    index.Tensor flip roll pad constant_pad_nd reflection_pad2d replication_pad2d upsample_nearest2d.vec
    upsample_nearest2d upsample_bilinear2d.vec upsample_bilinear2d upsample_nearest1d.vec upsample_linear1d.vec
    upsample_bicubic2d.vec _upsample_bilinear2d_aa.vec pixel_shuffle pixel_unshuffle channel_shuffle
    instance_norm bmm baddbmm scaled_dot_product_attention einsum
    gt.Scalar lt.Scalar ge.Scalar le.Scalar eq.Scalar ne.Scalar gt.Tensor lt.Tensor ge.Tensor le.Tensor eq.Tensor
    logical_not logical_and logical_or any.dim where.self where.ScalarSelf where.ScalarOther full_like
    arange arange.start arange.start_step full
    zeros ones zeros_like ones_like scalar_tensor sym_size.int
    """
)
"""Stay functions."""

_NUMBERS: Final[Mapping[str, Callable[..., Any]]] = {
    "_operator.add": lambda self, other: self + other,
    "_operator.sub": lambda self, other: self - other,
    "_operator.mul": lambda self, other: self * other,
    "_operator.floordiv": lambda self, other: self // other,
}
"""Between sizes of tensors."""


def functional(operator: str) -> str:
    """The name of the operator that gives what one that works in place leaves: "relu_.default" -> "relu.default"."""
    packet, _, overload = operator.partition(".")
    out_of_place = f"{packet.removesuffix('_')}.{overload}"
    return out_of_place if packet.endswith("_") and _is_known(out_of_place) else operator


def is_in_place(operator: str) -> bool:
    return functional(operator) != operator


def overload_of(operator: str, *, step: str) -> Any:
    """torch's operator of a name such as "conv2d.default", not in place. Raises ConversionError outside the tables."""
    return overload_as_written(functional(operator), step=step)


def overload_as_written(operator: str, *, step: str) -> Any:
    """As `overload_of`, in place where it is written so."""
    if operator in _NUMBERS:
        return _NUMBERS[operator]
    if not _is_known(functional(operator)):
        raise ConversionError(
            f"operator {operator} (at {step}) is not supported",
            hint="docs/networks.md lists the supported ones; write this part of the network with them",
        )
    if operator in VIEWS:
        return torch.ops.aten.reshape.default  # which takes any layout in memory
    packet, _, overload = operator.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload)


def completed(overload: Any, arguments: Mapping[str, Any], *, step: str) -> dict[str, Any]:
    """All arguments of the schema by name, those left out at their defaults. Raises ConversionError for a bad call."""
    if overload in _NUMBERS.values():
        return dict(arguments)
    if overload is torch.ops.aten.reshape.default and "size" in arguments:
        arguments = {"self": arguments.get("self"), "shape": arguments["size"]}
    names = [argument.name for argument in overload._schema.arguments]
    missing = [one.name for one in overload._schema.arguments if one.name not in arguments and not has_default(one)]
    if missing or set(arguments) - set(names):
        wrong = ", ".join(missing or sorted(set(arguments) - set(names)))
        raise ConversionError(
            f"{overload} (at {step}) is called with arguments that do not fit it: {wrong}",
            hint="export the network again with the installed version of torch",
        )
    return {one.name: arguments.get(one.name, one.default_value) for one in overload._schema.arguments}


def has_default(argument: Any) -> bool:
    return bool(argument.has_default_value())


def positioned(overload: Any, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call, defaults at the end left out."""
    given, named = [], {}
    for one in overload._schema.arguments:
        value = arguments[one.name]
        if not one.kwarg_only:
            given.append(value)
        elif not (has_default(one) and value == one.default_value):
            named[one.name] = value
    ordered = [one for one in overload._schema.arguments if not one.kwarg_only]
    while given and has_default(ordered[len(given) - 1]) and _same(given[-1], ordered[len(given) - 1].default_value):
        given.pop()
    return tuple(given), named


def call(overload: Any, arguments: Mapping[str, Any]) -> Any:
    """Runs it on tensors, those of device "meta" included."""
    if overload in _NUMBERS.values():
        return overload(**arguments)
    plain = {name: _plain(value) for name, value in arguments.items()}
    given, named = positioned(overload, plain)
    return overload(*given, **named)


def gives_view(overload: Any) -> bool:
    """Whether its result can share memory with what it gets."""
    return overload not in _NUMBERS.values() and any(
        one.alias_info is not None and not one.alias_info.is_write for one in overload._schema.returns
    )


def _is_known(operator: str) -> bool:
    return operator in LAYERS or operator in ALIASES or operator in CASTS or operator in _FUNCTIONS


def _plain(value: Any) -> Any:
    if isinstance(value, Dtype):
        return getattr(torch, value.name)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    return type(one) is type(other) and bool(one == other)
