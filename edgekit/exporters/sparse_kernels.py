"""Whether XNNPACK computes a .tflite file with its kernels for sparse 1x1 convolutions, and if not, why.

A file with DENSIFY makes XNNPACK look for operators that it can compute with channels first, which its sparse kernels need. The
rules are those of `xnn_check_nchw_compatibility` and `xnn_subgraph_rewrite_for_nchw` in XNNPACK's `src/subgraph.c` and of the
README of TensorFlow Lite's XNNPACK delegate, as far as they were tried (docs/sparsity.md). Operators that were not are said not
to fit: where the first convolution fits and a later operator does not, XNNPACK may mix up the layouts, so that outputs are
wrong, or refuse the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.exporters.flatbuffer import operator_name, unpack

_ELEMENTWISE = frozenset({"HARD_SWISH", "LOGISTIC", "RELU", "RELU6"})
_BEHIND_MEAN = ("FULLY_CONNECTED", "SOFTMAX")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def sparse_obstacle(tflite: bytes) -> str | None:
    """Why zeros in the 1x1 convolutions of a file with one network save no time where XNNPACK has sparse kernels: the first
    operator that does not fit, or too few zeros. None where they save time on Arm; on x86 with AVX they never do.

    Whether the weights are stored sparse yet makes no difference. Raises BadInputError for a damaged file.
    """
    network = _Network(unpack(tflite, name="the network"))
    if reason := network.misfit():
        return reason
    zeros, weights = network.pointwise_zeros()
    if _are_enough(zeros, weights):
        return None
    return (
        f"{zeros / weights:.1%} of the weights of 1x1 convolutions and of the dense layer behind them are zero, "
        f"which is not more than two thirds"
    )


def bears_sparse_weights(model: Any) -> bool:
    """Whether a `ModelT` loads and its outputs stay right on Arm where it has DENSIFY operators.

    They do where XNNPACK can change the layout of all or of nothing: nothing without a first convolution that fits, nor where no
    layer that it looks at has zeros enough.
    """
    network = _Network(model)
    return not network.misfit() or not network.has_fitting_stem() or not network.has_layer_with_zeros_enough()


class _Network:
    """One network as XNNPACK sees it: DENSIFY is done when the file is loaded."""

    def __init__(self, model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema, self._model = schema, model
        (self._subgraph,) = model.subgraphs
        named = [(operator_name(model.operatorCodes[one.opcodeIndex]), one) for one in self._subgraph.operators]
        self._stored = {one.outputs[0]: one.inputs[0] for name, one in named if name == "DENSIFY"}
        self.operators = [one for name, one in named if name != "DENSIFY"]
        self.names = [name for name, _ in named if name != "DENSIFY"]

    def misfit(self) -> str:
        """What keeps the whole network up to its last mean from being computed with channels first; empty where nothing does."""
        mean = self._last_mean()
        if mean is None:
            return "no MEAN over height and width ends the convolutions"
        for step in range(len(self.operators)):
            if reason := self._unfit(step) if step < mean else self._unfit_behind(step, mean):
                return f"operator {step} ({self.names[step]}) {reason}"
        return "" if any(self._pointwise(mean)) else "there is no 1x1 convolution"

    def has_fitting_stem(self) -> bool:
        return any(
            name == "CONV_2D" and self._kernel(one) == (3, 3) and not self._unfit_convolution(one)
            for name, one in zip(self.names, self.operators, strict=True)
        )

    def _last_mean(self) -> int | None:
        return max((step for step in range(len(self.operators)) if self._is_global_mean(step)), default=None)

    def _is_global_mean(self, step: int) -> bool:
        if self.names[step] != "MEAN":
            return False
        read, axes = self.operators[step].inputs
        return len(self._shape(read)) == 4 and sorted(self._data(axes).view(np.int32) % 4) == [1, 2]

    def _unfit_behind(self, step: int, mean: int) -> str:
        """Behind the mean a dense layer may read it, but no other dense layer that one: LiteRT 2.3 refuses such a file."""
        name, operator = self.names[step], self.operators[step]
        allowed = {index for one in self.operators[mean:] for index in one.outputs}
        if name == "FULLY_CONNECTED":
            dense = zip(self.names[mean:], self.operators[mean:], strict=True)
            allowed -= {index for kind, one in dense if kind == name for index in one.outputs}
        if step == mean or (name in _BEHIND_MEAN and operator.inputs[0] in allowed):
            return ""
        return "comes behind the last mean, where only a dense layer and SOFTMAX fit"

    def _unfit(self, step: int) -> str:
        """Why XNNPACK cannot compute the operator with channels first; empty where it can."""
        operator, name = self.operators[step], self.names[step]
        if any(self._type(index) != self._schema.TensorType.FLOAT32 for index in operator.outputs):
            return "does not compute in float32"
        if set(operator.outputs) & set(self._subgraph.outputs):
            return "comes before the last mean and gives an output"
        if name == "PAD":
            return self._unfit_padding(operator)
        if name == "CONV_2D":
            return self._unfit_convolution(operator)
        if operator.inputs[0] in self._subgraph.inputs:
            return "comes before the first convolution"
        if name == "DEPTHWISE_CONV_2D":
            return self._unfit_depthwise(operator)
        if name in ("ADD", "MUL"):
            return self._unfit_pair(operator)
        if name in _ELEMENTWISE or self._is_global_mean(step):
            return ""
        return "is not among those that fit"

    def pointwise_zeros(self) -> tuple[int, int]:
        """Zeros among the weights that XNNPACK looks at where nothing misfits, and all of these."""
        mean = self._last_mean()
        read = [] if mean is None else [*self._pointwise(mean), *self._dense_behind(mean)]
        counted = [self._zeros(operator) for operator in read]
        return sum(zeros for zeros, _ in counted), sum(weights for _, weights in counted)

    def has_layer_with_zeros_enough(self) -> bool:
        every = len(self.operators)
        dense = (one for name, one in zip(self.names, self.operators, strict=True) if name == "FULLY_CONNECTED")
        return any(_are_enough(*self._zeros(one)) for one in (*self._pointwise(every), *dense))

    def _zeros(self, operator: Any) -> tuple[int, int]:
        """Among the operator's weights, and all of these."""
        index = operator.inputs[1]
        weights = math.prod(self._shape(index))
        stored = self._stored.get(index, index)
        if not self._has_data(stored) or self._type(stored) != self._schema.TensorType.FLOAT32:
            return 0, weights
        return weights - int(np.count_nonzero(self._data(stored).view(np.float32))), weights

    def _pointwise(self, end: int) -> Iterator[Any]:
        """1x1 convolutions before this operator."""
        for name, operator in zip(self.names[:end], self.operators, strict=False):
            if name == "CONV_2D" and self._kernel(operator) == (1, 1):
                yield operator

    def _dense_behind(self, mean: int) -> Iterator[Any]:
        """Dense layers that read the mean: XNNPACK joins them to the convolutions."""
        for name, operator in zip(self.names[mean:], self.operators[mean:], strict=True):
            if name == "FULLY_CONNECTED" and operator.inputs[0] == self.operators[mean].outputs[0]:
                yield operator

    def _unfit_convolution(self, operator: Any) -> str:
        options, kernel = operator.builtinOptions, self._kernel(operator)
        (channels,) = self._shape(operator.inputs[1])[3:]
        if channels != self._shape(operator.inputs[0])[3]:
            return "has groups"
        stride = (options.strideH, options.strideW)
        pads = self._pads(operator)
        if kernel == (1, 1):
            if self._source(operator) in self._subgraph.inputs:
                return "is a 1x1 convolution of the network's input, which a 3x3 convolution of stride 2 must read"
            return "" if stride == (1, 1) and pads == (0, 0, 0, 0) else "is a 1x1 convolution with stride or padding"
        if (kernel, stride, channels, pads) == ((3, 3), (2, 2), 3, (1, 1, 1, 1)) and self._is_undilated(operator):
            return ""
        what = f"is a {kernel[0]}x{kernel[1]} convolution of {channels} channels, stride {stride[0]}, {_words(pads)}"
        return f"{what}: beside 1x1, only 3x3 of 3 channels, stride 2, padding 1 on every side fits"

    def _unfit_depthwise(self, operator: Any) -> str:
        options, kernel, pads = operator.builtinOptions, self._kernel(operator), self._pads(operator)
        if options.depthMultiplier != 1 or not self._is_undilated(operator):
            return "has a depth multiplier or dilation"
        if kernel not in ((3, 3), (5, 5)) or options.strideH != options.strideW or options.strideH > 2:
            return f"has a kernel of {kernel[0]}x{kernel[1]}, stride {options.strideH}: 3x3 or 5x5, stride 1 or 2 fit"
        half = kernel[0] // 2
        return "" if pads == (half,) * 4 else f"has {_words(pads)}: {half} on every side fits"

    def _unfit_padding(self, operator: Any) -> str:
        """Padding with zeros is part of the convolution that reads it."""
        readers = [
            name for name, one in zip(self.names, self.operators, strict=True) if operator.outputs[0] in one.inputs
        ]
        pads = self._data(operator.inputs[1]).view(np.int32).reshape(-1, 2)
        is_spatial = len(pads) == 4 and not pads[[0, 3]].any()
        return "" if len(readers) == 1 and readers[0] in _CONVOLUTIONS and is_spatial else "pads for no convolution"

    def _unfit_pair(self, operator: Any) -> str:
        for index in operator.inputs:
            shape = self._shape(index)
            if len(shape) != 4:
                return "has an input that is not of rank 4"
            if self._has_data(index) and sum(length > 1 for length in shape) > 1:
                return "has a constant that is neither a number nor a vector"
        return ""

    def _pads(self, operator: Any) -> tuple[int, ...] | None:
        """Above, below, left, right; None where TFLite's SAME leaves it to the input's size."""
        options, kernel = operator.builtinOptions, self._kernel(operator)
        own = [0, 0, 0, 0]
        if options.padding == self._schema.Padding.SAME:
            if max(options.strideH, options.strideW) > 1:
                return None
            own = [side for length in kernel for side in ((length - 1) // 2, length // 2)]
        before = self._padding_before(operator)
        if before is None:
            return tuple(own)
        added = self._data(before.inputs[1]).view(np.int32).reshape(-1, 2)[1:3].flatten()
        return tuple(one + int(other) for one, other in zip(own, added, strict=True))

    def _padding_before(self, operator: Any) -> Any:
        pads = (one for name, one in zip(self.names, self.operators, strict=True) if name == "PAD")
        return next((one for one in pads if one.outputs[0] == operator.inputs[0]), None)

    def _source(self, operator: Any) -> int:
        before = self._padding_before(operator)
        return int((operator if before is None else before).inputs[0])

    def _is_undilated(self, operator: Any) -> bool:
        return bool(operator.builtinOptions.dilationHFactor == operator.builtinOptions.dilationWFactor == 1)

    def _kernel(self, operator: Any) -> tuple[int, ...]:
        return self._shape(operator.inputs[1])[1:3]

    def _type(self, index: int) -> int:
        return int(self._subgraph.tensors[index].type)

    def _shape(self, index: int) -> tuple[int, ...]:
        shape = self._subgraph.tensors[index].shape
        return () if shape is None else tuple(map(int, shape))

    def _has_data(self, index: int) -> bool:
        return self._model.buffers[self._subgraph.tensors[index].buffer].data is not None

    def _data(self, index: int) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self._model.buffers[self._subgraph.tensors[index].buffer].data.tobytes(), np.uint8)


def _words(pads: tuple[int, ...] | None) -> str:
    if pads is None:
        return "padding that depends on the input's size (SAME)"
    return f"padding {pads[0]}" if len(set(pads)) == 1 else f"padding {', '.join(map(str, pads))}"


def _are_enough(zeros: int, weights: int) -> bool:
    return 3 * zeros > 2 * weights
