"""Standard layers made from ATen operators whose weights are constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

_CONVOLUTIONS: Final[Mapping[int, Callable[..., Any]]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_TRANSPOSED: Final[Mapping[int, Callable[..., Any]]] = {
    3: nn.ConvTranspose1d,
    4: nn.ConvTranspose2d,
    5: nn.ConvTranspose3d,
}
_BATCH_NORMS: Final[Mapping[int, Callable[..., Any]]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
_SIMPLE: Final[Mapping[str, type[nn.Module]]] = {
    "relu.default": nn.ReLU,
    "relu6.default": nn.ReLU6,
    "hardswish.default": nn.Hardswish,
    "hardsigmoid.default": nn.Hardsigmoid,
    "silu.default": nn.SiLU,
    "sigmoid.default": nn.Sigmoid,
    "tanh.default": nn.Tanh,
    "mish.default": nn.Mish,
}
_MAX_POOLS: Final[Mapping[str, Callable[..., Any]]] = {
    "max_pool1d": nn.MaxPool1d,
    "max_pool2d": nn.MaxPool2d,
    "max_pool3d": nn.MaxPool3d,
}
_AVERAGE_POOLS: Final[Mapping[str, Callable[..., Any]]] = {
    "avg_pool1d": nn.AvgPool1d,
    "avg_pool2d": nn.AvgPool2d,
    "avg_pool3d": nn.AvgPool3d,
}
_ADAPTIVE_POOLS: Final[Mapping[str, Callable[..., Any]]] = {
    "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "_adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "adaptive_avg_pool3d": nn.AdaptiveAvgPool3d,
    "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeLayer:
    """A module in eval mode that replaces one operator: it reads the argument `reads` alone, padded with zeros by `pad` first
    (as torch.nn.functional.pad takes it)."""

    module: nn.Module
    reads: str
    pad: tuple[int, ...] = ()


def make_layer(operator: str, given: Mapping[str, Any], *, rank: int) -> MadeLayer | None:
    """The layer for an operator such as "conv2d.default", None where none stands for it.

    `given` are all its arguments by name: constants as tensors, anything else that varies with the input as other objects.
    `rank` is that of what it reads.
    """
    packet = operator.partition(".")[0]
    if packet.startswith(("conv", "_convolution")):
        return _convolution(packet, given)
    if packet in {"linear", "addmm", "mm", "matmul"}:
        return _linear(packet, given)
    if packet in {"batch_norm", "_native_batch_norm_legit_no_training"}:
        return _batch_norm(given, rank)
    if packet in {"layer_norm", "native_layer_norm", "group_norm", "native_group_norm"}:
        return _other_norm(packet, given)
    if packet.removesuffix("_with_indices") in _MAX_POOLS or packet in _AVERAGE_POOLS or packet in _ADAPTIVE_POOLS:
        return MadeLayer(module=_pool(packet, given), reads="self")
    if operator == "flatten.using_ints" and given["start_dim"] >= 1:
        return MadeLayer(module=nn.Flatten(given["start_dim"], given["end_dim"]), reads="self")
    activation = _activation(operator, given)
    return None if activation is None else MadeLayer(module=activation, reads="self")


def _convolution(packet: str, given: Mapping[str, Any]) -> MadeLayer | None:
    weight, bias = given["weight"], given["bias"]
    if not (isinstance(weight, Tensor) and _is_constant_or_none(bias)):
        return None
    dimensions = weight.dim() - 2
    transposed = given.get("transposed", packet.startswith("conv_transpose"))
    stride, dilation = (_repeated(given[name], dimensions) for name in ("stride", "dilation"))
    padding: Any = given["padding"]
    pad: tuple[int, ...] = ()
    if padding == "valid":
        padding = 0
    elif padding == "same":
        padding, pad = _same_padding(weight.shape[2:], dilation)
    groups = given["groups"]
    shared: dict[str, Any] = {
        "stride": stride,
        "padding": _repeated(padding, dimensions),
        "dilation": dilation,
        "groups": groups,
    }
    module: nn.Module
    if transposed:
        module = _TRANSPOSED[weight.dim()](
            weight.shape[0],
            weight.shape[1] * groups,
            tuple(weight.shape[2:]),
            output_padding=_repeated(given["output_padding"], dimensions),
            bias=bias is not None,
            device="meta",
            **shared,
        )
    else:
        module = _CONVOLUTIONS[weight.dim()](
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(weight.shape[2:]),
            bias=bias is not None,
            device="meta",
            **shared,
        )
    return MadeLayer(module=_with_weights(module, weight, bias), reads="input", pad=pad)


def _same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(padding of the layer, padding before it): torch pads an odd number more at the end."""
    totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
    if all(total % 2 == 0 for total in totals):
        return tuple(total // 2 for total in totals), ()
    return (0,) * len(totals), tuple(side for total in reversed(totals) for side in (total // 2, total - total // 2))


def _linear(packet: str, given: Mapping[str, Any]) -> MadeLayer | None:
    match packet:
        case "linear":
            reads, weight, bias = "input", given["weight"], given["bias"]
        case "addmm":
            reads, weight, bias = "mat1", _transposed(given["mat2"]), given["self"]
            if given["alpha"] != 1 or given["beta"] != 1:
                return None
        case "mm":
            reads, weight, bias = "self", _transposed(given["mat2"]), None
        case _:
            reads, weight, bias = "self", _transposed(given["other"]), None
    if not (isinstance(weight, Tensor) and weight.dim() == 2 and _is_constant_or_none(bias)):
        return None
    if isinstance(given[reads], Tensor):
        return None
    if bias is not None:
        if bias.numel() != weight.shape[0]:
            return None
        bias = bias.reshape(-1)
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return MadeLayer(module=_with_weights(module, weight, bias), reads=reads)


def _transposed(weight: Any) -> Any:
    return weight.T.contiguous() if isinstance(weight, Tensor) and weight.dim() == 2 else None


def _batch_norm(given: Mapping[str, Any], rank: int) -> MadeLayer | None:
    mean_C, var_C = given["running_mean"], given["running_var"]
    weight_C, bias_C = given["weight"], given["bias"]
    constant = isinstance(mean_C, Tensor) and isinstance(var_C, Tensor)
    if not constant or not (_is_constant_or_none(weight_C) and _is_constant_or_none(bias_C)):
        return None
    affine = weight_C is not None or bias_C is not None
    module = _BATCH_NORMS[rank](len(mean_C), eps=given["eps"], momentum=given["momentum"], affine=affine, device="meta")
    if affine:
        weight_C = torch.ones_like(mean_C) if weight_C is None else weight_C
        bias_C = torch.zeros_like(mean_C) if bias_C is None else bias_C
        _with_weights(module, weight_C, bias_C)
    module.running_mean, module.running_var = mean_C.detach().clone(), var_C.detach().clone()
    module.num_batches_tracked = torch.zeros((), dtype=torch.long)
    return MadeLayer(module=module.eval(), reads="input")


def _other_norm(packet: str, given: Mapping[str, Any]) -> MadeLayer | None:
    weight, bias = given["weight"], given["bias"]
    if not (_is_constant_or_none(weight) and _is_constant_or_none(bias)) or (weight is None) != (bias is None):
        return None
    affine = weight is not None
    module: nn.Module
    if "layer" in packet:
        module = nn.LayerNorm(
            tuple(given["normalized_shape"]), eps=given["eps"], elementwise_affine=affine, device="meta"
        )
    elif affine:
        groups = given["group"] if packet == "native_group_norm" else given["num_groups"]
        module = nn.GroupNorm(groups, len(weight), eps=given["eps"], device="meta")
    else:
        return None
    return MadeLayer(module=_with_weights(module, weight, bias) if affine else module, reads="input")


def _pool(packet: str, given: Mapping[str, Any]) -> Any:
    if packet in _ADAPTIVE_POOLS:
        size = given["output_size"]
        return _ADAPTIVE_POOLS[packet](size if isinstance(size, int) else tuple(size))
    kernel, stride, padding = (_tuple(given[name]) for name in ("kernel_size", "stride", "padding"))
    if packet in _AVERAGE_POOLS:
        more = {} if packet == "avg_pool1d" else {"divisor_override": given["divisor_override"]}
        return _AVERAGE_POOLS[packet](
            kernel, stride or None, padding, given["ceil_mode"], given["count_include_pad"], **more
        )
    kind = _MAX_POOLS[packet.removesuffix("_with_indices")]
    return kind(kernel, stride or None, padding, _tuple(given["dilation"]), ceil_mode=given["ceil_mode"])


def _activation(operator: str, given: Mapping[str, Any]) -> nn.Module | None:
    if operator in _SIMPLE:
        return _SIMPLE[operator]()
    match operator:
        case "hardtanh.default":
            low, high = given["min_val"], given["max_val"]
            return nn.ReLU6() if (low, high) == (0, 6) else nn.Hardtanh(low, high)
        case "clamp.default":
            match given["min"], given["max"]:
                case 0, 6:
                    return nn.ReLU6()
                case 0, None:
                    return nn.ReLU()
        case "leaky_relu.default":
            return nn.LeakyReLU(given["negative_slope"])
        case "gelu.default":
            return nn.GELU(given["approximate"])
        case "elu.default" if given["scale"] == 1 and given["input_scale"] == 1:
            return nn.ELU(given["alpha"])
        case "softplus.default":
            return nn.Softplus(given["beta"], given["threshold"])
        case "prelu.default" if isinstance(given["weight"], Tensor):
            return _with_weights(nn.PReLU(given["weight"].numel(), device="meta"), given["weight"], None)
    return None


def _with_weights(module: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    module.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        module.bias = nn.Parameter(bias.detach().clone())
    return module.eval()


def _is_constant_or_none(value: Any) -> bool:
    return value is None or isinstance(value, Tensor)


def _repeated(value: Any, dimensions: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dimensions if len(values) == 1 else values


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value
