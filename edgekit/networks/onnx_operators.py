"""The operators of ONNX in terms of those of ATen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy.typing as npt

from edgekit.core.errors import ConversionError
from edgekit.networks.program import GETITEM, Reference, Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One node of a graph, and the steps that stand for it as they are found."""

    name: str
    where: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: Mapping[str, npt.NDArray[Any]]
    shape_of: Callable[[str], tuple[int, ...]]
    opset: int
    steps: list[Step] = field(default_factory=list)

    def given(self, index: int) -> bool:
        return len(self.inputs) > index and self.inputs[index] is not None

    def tensor(self, index: int = 0) -> Reference | None:
        """An input as it is, None where it is left out."""
        return Reference(str(self.inputs[index])) if self.given(index) else None

    def operand(self, index: int) -> Any:
        """An input, as a number where it is a single constant one."""
        value = self.constants.get(str(self.inputs[index]))
        return value.item() if value is not None and value.ndim == 0 else self.tensor(index)

    def shape(self, index: int = 0) -> tuple[int, ...]:
        return self.shape_of(str(self.inputs[index]))

    def constant(self, index: int, what: str) -> list[Any] | None:
        """The values of an input that must be constant, None where it is left out."""
        if not self.given(index):
            return None
        value = self.constants.get(str(self.inputs[index]))
        if value is None:
            raise self.refusal(f"computes its {what} from its input")
        return [*value.reshape(-1).tolist()]

    def option(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)

    def emit(node, operator: str, /, **arguments: Any) -> Reference:  # noqa: N805 (ATen has arguments called self)
        """A step in between, whose result it gives."""
        name = f"{node.outputs[0]}.{len(node.steps)}"
        node.steps.append(Step(name=name, operator=operator, arguments=arguments))
        return Reference(name)

    def give(node, operator: str, /, **arguments: Any) -> None:  # noqa: N805
        """The step that gives the first output."""
        node.steps.append(Step(name=node.outputs[0], operator=operator, arguments=arguments))

    def refusal(self, what: str) -> ConversionError:
        return ConversionError(
            f"operator {self.name} (at {self.where}) {what}, which is not supported",
            hint="docs/networks.md says what is supported; write this part of the network differently",
        )


def _simple(operator: str, **fixed: Any) -> Callable[[Node], None]:
    def translate(node: Node) -> None:
        node.give(operator, self=node.tensor(), **fixed)

    return translate


def _with_options(operator: str, **options: tuple[str, Any]) -> Callable[[Node], None]:
    """Arguments taken from attributes: argument=(attribute, default)."""

    def translate(node: Node) -> None:
        node.give(operator, self=node.tensor(), **{name: node.option(*option) for name, option in options.items()})

    return translate


def _binary(operator: str) -> Callable[[Node], None]:
    def translate(node: Node) -> None:
        first, second = node.operand(0), node.operand(1)
        if isinstance(first, Reference):
            node.give(operator, self=first, other=second)
        else:
            node.give(operator, self=node.tensor(0), other=second)

    return translate


def _many(operator: str) -> Callable[[Node], None]:
    def translate(node: Node) -> None:
        result = node.tensor(0)
        for index in range(1, len(node.inputs) - 1):
            result = node.emit(operator, self=result, other=node.tensor(index))
        if len(node.inputs) == 1:
            node.give("alias.default", self=result)
        else:
            node.give(operator, self=result, other=node.tensor(len(node.inputs) - 1))

    return translate


def _power(node: Node) -> None:
    exponent = node.operand(1)
    if isinstance(exponent, Reference):
        raise node.refusal("has an exponent that is not one number")
    node.give("pow.Tensor_Scalar", self=node.tensor(), exponent=exponent)


def _sides(
    node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[int, int]]:
    """The padding before and after in each dimension of space."""
    mode = node.option("auto_pad", "NOTSET")
    count = len(kernel)
    if mode == "NOTSET":
        pads = node.option("pads", [0] * (2 * count))
        return list(zip(pads[:count], pads[count:], strict=True))
    if mode == "VALID":
        return [(0, 0)] * count
    sides = []
    for size, window, stride, dilation in zip(node.shape()[2:], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + dilation * (window - 1) + 1 - size)
        less, more = total // 2, total - total // 2
        sides.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return sides


def _padded(node: Node, sides: Sequence[tuple[int, int]], value: float) -> Reference:
    pad = [one for side in reversed(sides) for one in side]
    return node.emit("pad.default", self=node.tensor(), pad=pad, mode="constant", value=value)


def _convolution(node: Node) -> None:
    kernel = node.shape(1)[2:]
    strides, dilations = (node.option(name, [1] * len(kernel)) for name in ("strides", "dilations"))
    sides = _sides(node, kernel, strides, dilations)
    even = all(before == after for before, after in sides)
    node.give(
        f"conv{len(kernel)}d.default",
        input=node.tensor() if even else _padded(node, sides, 0.0),
        weight=node.tensor(1),
        bias=node.tensor(2),
        stride=list(strides),
        padding=[before for before, _ in sides] if even else [0] * len(kernel),
        dilation=list(dilations),
        groups=node.option("group", 1),
    )


def _transposed_convolution(node: Node) -> None:
    kernel = node.shape(1)[2:]
    ones = [1] * len(kernel)
    pads = node.option("pads", [0] * (2 * len(kernel)))
    uneven = pads[: len(kernel)] != pads[len(kernel) :]
    if uneven or node.option("auto_pad", "NOTSET") not in {"NOTSET", "VALID"} or "output_shape" in node.attributes:
        raise node.refusal("pads its sides differently")
    node.give(
        f"conv_transpose{len(kernel)}d.{'default' if len(kernel) == 1 else 'input'}",
        input=node.tensor(),
        weight=node.tensor(1),
        bias=node.tensor(2),
        stride=list(node.option("strides", ones)),
        padding=list(pads[: len(kernel)]),
        output_padding=list(node.option("output_padding", [0] * len(kernel))),
        groups=node.option("group", 1),
        dilation=list(node.option("dilations", ones)),
    )


def _gemm(node: Node) -> None:
    if node.option("transA", 0):
        raise node.refusal("transposes its first input")
    weight: Any = node.tensor(1)
    if not node.option("transB", 0):
        weight = node.emit("t.default", self=weight)
    if node.option("alpha", 1.0) != 1:
        weight = node.emit("mul.Scalar", self=weight, other=node.option("alpha", 1.0))
    bias: Any = node.tensor(2)
    if bias is not None and node.option("beta", 1.0) != 1:
        bias = node.emit("mul.Scalar", self=bias, other=node.option("beta", 1.0))
    outputs = node.shape(1)[0 if node.option("transB", 0) else 1]
    if bias is not None and math.prod(node.shape(2)) != outputs:
        product = node.emit("linear.default", input=node.tensor(), weight=weight, bias=None)
        node.give("add.Tensor", self=product, other=bias)
        return
    if bias is not None and len(node.shape(2)) != 1:
        bias = node.emit("reshape.default", self=bias, shape=[-1])
    node.give("linear.default", input=node.tensor(), weight=weight, bias=bias)


def _batch_norm(node: Node) -> None:
    if node.option("training_mode", 0):
        raise node.refusal("normalises by its batch")
    node.give(
        "batch_norm.default",
        input=node.tensor(),
        weight=node.tensor(1),
        bias=node.tensor(2),
        running_mean=node.tensor(3),
        running_var=node.tensor(4),
        training=False,
        momentum=1 - node.option("momentum", 0.9),
        eps=node.option("epsilon", 1e-5),
        cudnn_enabled=False,
    )


def _layer_norm(node: Node) -> None:
    if len(node.outputs) > 1:
        raise node.refusal("gives its statistics")
    node.give(
        "layer_norm.default",
        input=node.tensor(),
        normalized_shape=list(node.shape()[node.option("axis", -1) :]),
        weight=node.tensor(1),
        bias=node.tensor(2),
        eps=node.option("epsilon", 1e-5),
    )


def _group_norm(node: Node) -> None:
    node.give(
        "group_norm.default",
        input=node.tensor(),
        num_groups=node.option("num_groups", 1),
        weight=node.tensor(1),
        bias=node.tensor(2),
        eps=node.option("epsilon", 1e-5),
    )


def _instance_norm(node: Node) -> None:
    node.give(
        "instance_norm.default",
        input=node.tensor(),
        weight=node.tensor(1),
        bias=node.tensor(2),
        running_mean=None,
        running_var=None,
        use_input_stats=True,
        momentum=0.1,
        eps=node.option("epsilon", 1e-5),
        cudnn_enabled=False,
    )


def _clip(node: Node) -> None:
    if node.opset < 11:
        low, high = node.option("min", None), node.option("max", None)
    else:
        low, high = ((node.constant(index, "bounds") or [None])[0] for index in (1, 2))
    node.give("clamp.default", self=node.tensor(), min=low, max=high)


def _hard_sigmoid(node: Node) -> None:
    alpha, beta = node.option("alpha", 0.2), node.option("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        node.give("hardsigmoid.default", self=node.tensor())
    else:
        scaled = node.emit("add.Scalar", self=node.emit("mul.Scalar", self=node.tensor(), other=alpha), other=beta)
        node.give("clamp.default", self=scaled, min=0, max=1)


def _prelu(node: Node) -> None:
    slope = node.shape(1)
    channels = (1,) * (len(node.shape()) - len(slope)) + slope
    if math.prod(slope) > 1 and math.prod(slope) != channels[1]:
        raise node.refusal("has slopes that differ within a channel")
    weight = node.emit("reshape.default", self=node.tensor(1), shape=[-1])
    node.give("prelu.default", self=node.tensor(), weight=weight)


def _softmax(operator: str) -> Callable[[Node], None]:
    def translate(node: Node) -> None:
        axis = node.option("axis", -1 if node.opset >= 13 else 1)
        if node.opset < 13 and axis % len(node.shape()) != len(node.shape()) - 1:
            raise node.refusal("joins several dimensions")
        node.give(operator, self=node.tensor(), dim=axis, dtype=None)

    return translate


def _pool(packet: str) -> Callable[[Node], None]:
    def translate(node: Node) -> None:
        if len(node.outputs) > 1:
            raise node.refusal("gives its indices")
        kernel = list(node.attributes["kernel_shape"])
        strides, dilations = (list(node.option(name, [1] * len(kernel))) for name in ("strides", "dilations"))
        sides = _sides(node, kernel, strides, dilations)
        fits = all(before == after <= window // 2 for (before, after), window in zip(sides, kernel, strict=True))
        padding = [before for before, _ in sides] if fits else [0] * len(kernel)
        shared = {
            "kernel_size": kernel,
            "stride": strides,
            "padding": padding,
            "ceil_mode": bool(node.option("ceil_mode", 0)),
        }
        operator = f"{packet}{len(kernel)}d.default"
        if packet == "max_pool":
            source = node.tensor() if fits else _padded(node, sides, -math.inf)
            node.give(operator, self=source, dilation=dilations, **shared)
            return
        counted = bool(node.option("count_include_pad", 0))
        if (not fits and not counted) or dilations != [1] * len(kernel):
            raise node.refusal("averages over windows that its padding cuts")
        node.give(
            operator, self=node.tensor() if fits else _padded(node, sides, 0.0), count_include_pad=counted, **shared
        )

    return translate


def _global_average_pool(node: Node) -> None:
    dimensions = len(node.shape()) - 2
    node.give(f"adaptive_avg_pool{dimensions}d.default", self=node.tensor(), output_size=[1] * dimensions)


def _global_max_pool(node: Node) -> None:
    node.give("amax.default", self=node.tensor(), dim=list(range(2, len(node.shape()))), keepdim=True)


def _reduction(operator: str, axes_are_input_from: int) -> Callable[[Node], None]:
    def translate(node: Node) -> None:
        axes = node.constant(1, "axes") if node.opset >= axes_are_input_from else node.option("axes", None)
        if not axes:
            if node.option("noop_with_empty_axes", 0):
                node.give("alias.default", self=node.tensor())
                return
            axes = range(len(node.shape()))
        node.give(operator, self=node.tensor(), dim=list(axes), keepdim=bool(node.option("keepdims", 1)))

    return translate


def _flatten(node: Node) -> None:
    axis, shape = node.option("axis", 1), node.shape()
    if axis % len(shape) == 1:
        node.give("flatten.using_ints", self=node.tensor(), start_dim=1, end_dim=-1)
    else:
        node.give("reshape.default", self=node.tensor(), shape=[math.prod(shape[:axis]), math.prod(shape[axis:])])


def _reshape(node: Node) -> None:
    sizes, shape = node.constant(1, "shape") or [], node.shape()
    if not node.option("allowzero", 0):
        sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    node.give("reshape.default", self=node.tensor(), shape=sizes)


def _transpose(node: Node) -> None:
    node.give("permute.default", self=node.tensor(), dims=list(node.option("perm", range(len(node.shape()))[::-1])))


def _axes(node: Node) -> list[int] | None:
    axes = node.constant(1, "axes") if node.opset >= 13 else node.option("axes", None)
    return None if axes is None else list(axes)


def _squeeze(node: Node) -> None:
    axes = _axes(node)
    if axes is None:
        axes = [axis for axis, size in enumerate(node.shape()) if size == 1 and axis > 0]
    node.give("squeeze.dims", self=node.tensor(), dim=axes)


def _unsqueeze(node: Node) -> None:
    axes = _axes(node) or []
    rank = len(node.shape()) + len(axes)
    ordered = sorted(axis % rank for axis in axes)
    result = node.tensor()
    for axis in ordered[:-1]:
        result = node.emit("unsqueeze.default", self=result, dim=axis)
    node.give("unsqueeze.default", self=result, dim=ordered[-1])


def _concat(node: Node) -> None:
    tensors = [node.tensor(index) for index in range(len(node.inputs))]
    node.give("cat.default", tensors=tensors, dim=node.attributes["axis"])


def _split(node: Node) -> None:
    axis = node.option("axis", 0)
    sizes = node.constant(1, "sizes") if node.opset >= 13 else node.option("split", None)
    if sizes is None:
        length, parts = node.shape()[axis], len(node.outputs)
        size = math.ceil(length / parts)
        sizes = [min(size, length - size * index) for index in range(parts)]
    whole = node.emit("split_with_sizes.default", self=node.tensor(), split_sizes=list(sizes), dim=axis)
    node.steps.extend(
        Step(name=name, operator=GETITEM, arguments={"self": whole, "index": index})
        for index, name in enumerate(node.outputs)
        if name
    )


def _slice(node: Node) -> None:
    if node.opset < 10:
        starts, ends = list(node.attributes["starts"]), list(node.attributes["ends"])
        axes, steps = list(node.option("axes", range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = node.constant(1, "starts") or [], node.constant(2, "ends") or []
        axes = node.constant(3, "axes") or list(range(len(starts)))
        steps = node.constant(4, "steps") or [1] * len(starts)
    if min(steps) < 1:
        raise node.refusal("goes backwards")
    result = node.tensor()
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        result = node.emit("slice.Tensor", self=result, dim=axis, start=start, end=end, step=step)
    node.give("alias.default", self=result)


def _gather(node: Node) -> None:
    indices, axis = node.constants.get(str(node.inputs[1])), node.option("axis", 0)
    if indices is None or indices.ndim > 1:
        raise node.refusal("picks by indices that are computed")
    size = node.shape()[axis]
    if indices.ndim == 0:
        node.give("select.int", self=node.tensor(), dim=axis, index=int(indices) % size)
    elif (indices >= 0).all():
        node.give("index_select.default", self=node.tensor(), dim=axis, index=node.tensor(1))
    else:
        raise node.refusal("picks by negative indices")


def _pad(node: Node) -> None:
    pads = node.constant(1, "pads") if node.opset >= 11 else node.option("pads", None)
    value = (node.constant(2, "value") or [0.0])[0] if node.opset >= 11 else node.option("value", 0.0)
    rank = len(node.shape())
    axes = [axis % rank for axis in node.constant(3, "axes") or range(rank)]
    sides = [(0, 0)] * rank
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):  # type: ignore[index]
        sides[axis] = (before, after)
    first = next((axis for axis, side in enumerate(sides) if side != (0, 0)), rank - 1)
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        node.option("mode", "constant")
    ]
    if mode != "constant":
        first = max(2, first)
        if any(side != (0, 0) for side in sides[:first]):
            raise node.refusal("repeats batches or channels")
    pad = list(itertools.chain.from_iterable(reversed(sides[first:])))
    node.give("pad.default", self=node.tensor(), pad=pad, mode=mode, value=value if mode == "constant" else None)


def _resize(node: Node) -> None:
    inputs = (1, None) if node.name == "Upsample" else (2, 3)
    scales = node.constant(inputs[0], "scales") if node.given(inputs[0]) else None
    sizes = node.constant(3, "sizes") if inputs[1] and node.given(3) else None
    shape = node.shape()
    if len(shape) != 4 or "axes" in node.attributes or not (scales or sizes):
        raise node.refusal("does not resize images")
    if (scales and scales[:2] != [1, 1]) or (sizes and tuple(sizes[:2]) != shape[:2]):
        raise node.refusal("resizes batches or channels")
    mode = node.option("mode", "nearest")
    place = node.option("coordinate_transformation_mode", "asymmetric" if node.name == "Upsample" else "half_pixel")
    size, factors = (sizes[2:], None) if sizes else (None, scales[2:])  # type: ignore[index]
    if mode == "nearest" and place == "asymmetric" and node.option("nearest_mode", "floor") == "floor":
        node.give("upsample_nearest2d.vec", input=node.tensor(), output_size=size, scale_factors=factors)
    elif mode == "linear" and place in {"half_pixel", "pytorch_half_pixel", "align_corners"}:
        node.give(
            "upsample_bilinear2d.vec",
            input=node.tensor(),
            output_size=size,
            align_corners=place == "align_corners",
            scale_factors=factors,
        )
    else:
        raise node.refusal(f"resizes by {mode} of {place}")


def _depth_to_space(node: Node) -> None:
    block = node.attributes["blocksize"]
    if node.option("mode", "DCR") == "CRD":
        node.give("pixel_shuffle.default", self=node.tensor(), upscale_factor=block)
        return
    n, c, h, w = node.shape()
    apart = node.emit("reshape.default", self=node.tensor(), shape=[n, block, block, c // block**2, h, w])
    ordered = node.emit("permute.default", self=apart, dims=[0, 3, 4, 1, 5, 2])
    node.give("reshape.default", self=ordered, shape=[n, c // block**2, h * block, w * block])


def _expand(node: Node) -> None:
    sizes, shape = node.constant(1, "shape") or [], node.shape()
    rank = max(len(sizes), len(shape))
    sizes = [1] * (rank - len(sizes)) + sizes
    shape = (1,) * (rank - len(shape)) + shape
    node.give("expand.default", self=node.tensor(), size=[max(pair) for pair in zip(sizes, shape, strict=True)])


def _cast(node: Node) -> None:
    if node.attributes["to"] != 1:
        raise node.refusal("leaves float32")
    node.give("alias.default", self=node.tensor())


def _where(node: Node) -> None:
    node.give("where.self", condition=node.tensor(0), self=node.tensor(1), other=node.tensor(2))


def _gelu(node: Node) -> None:
    node.give("gelu.default", self=node.tensor(), approximate=node.option("approximate", "none"))


OPERATORS: Final[Mapping[str, Callable[[Node], None]]] = {
    "Abs": _simple("abs.default"),
    "Add": _binary("add.Tensor"),
    "AveragePool": _pool("avg_pool"),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "CastLike": _simple("alias.default"),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "DepthToSpace": _depth_to_space,
    "Div": _binary("div.Tensor"),
    "Dropout": _simple("alias.default"),
    "Elu": _with_options("elu.default", alpha=("alpha", 1.0)),
    "Erf": _simple("erf.default"),
    "Exp": _simple("exp.default"),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "GroupNormalization": _group_norm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _simple("hardswish.default"),
    "Identity": _simple("alias.default"),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _with_options("leaky_relu.default", negative_slope=("alpha", 0.01)),
    "Log": _simple("log.default"),
    "LogSoftmax": _softmax("log_softmax.int"),
    "MatMul": _binary("matmul.default"),
    "Max": _many("maximum.default"),
    "MaxPool": _pool("max_pool"),
    "Min": _many("minimum.default"),
    "Mish": _simple("mish.default"),
    "Mul": _binary("mul.Tensor"),
    "Neg": _simple("neg.default"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _power,
    "Reciprocal": _simple("reciprocal.default"),
    "ReduceMax": _reduction("amax.default", 18),
    "ReduceMean": _reduction("mean.dim", 18),
    "ReduceMin": _reduction("amin.default", 18),
    "ReduceSum": _reduction("sum.dim_IntList", 13),
    "Relu": _simple("relu.default"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _simple("sigmoid.default"),
    "Slice": _slice,
    "Softmax": _softmax("softmax.int"),
    "Softplus": _simple("softplus.default"),
    "Split": _split,
    "Sqrt": _simple("sqrt.default"),
    "Squeeze": _squeeze,
    "Sub": _binary("sub.Tensor"),
    "Sum": _many("add.Tensor"),
    "Swish": _simple("silu.default"),
    "Tanh": _simple("tanh.default"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
    "Where": _where,
}
"""By name; those of other domains than that of ONNX carry it, and none is read."""
