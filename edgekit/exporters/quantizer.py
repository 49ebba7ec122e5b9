"""From an fp32 .tflite file to one of integers, by ai_edge_quantizer: all of it, or all but some layers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError, ConversionError
from edgekit.core.model import Quantization, Scheme
from edgekit.exporters.conversion import converting
from edgekit.exporters.flatbuffer import operator_name, unpack
from edgekit.exporters.layer_names import FileLayer, file_layers
from edgekit.exporters.quiet import quiet
from edgekit.exporters.zero_filters import with_biases_of_zero_filters

Range = tuple[float, float]

INT4_OPERATORS = frozenset({"CONV_2D", "FULLY_CONNECTED"})
"""Those that the runtime executes on weights of 4 bits."""


class FileQuantizer:
    """Quantises one file from `convert_fp32` in as many ways as one likes; what activations hold is measured once.

    The range of an activation is its least and greatest value over the calibration inputs `x_N`. That of the input and of the
    output does not depend on them where it is known: `input_range` is what a picture can hold, so that [0, 1] gives scale 1/255
    and zero point -128 (a pixel maps exactly to pixel - 128), and probabilities lie in [0, 1].
    """

    def __init__(
        self,
        fp32: bytes,
        x_N: npt.NDArray[np.float32],
        *,
        input_range: Range | None = (0.0, 1.0),
        output_range: Range | None = (0.0, 1.0),
    ) -> None:
        self._fp32, self._x_N = fp32, x_N
        self._model = unpack(fp32, name="the fp32 file")
        (self._graph,) = self._model.subgraphs
        self._ends = {self._graph.inputs[0]: input_range, self._graph.outputs[0]: output_range}

    @cached_property
    def layers(self) -> Mapping[str, FileLayer]:
        """By the names of their modules, in the order of execution."""
        return file_layers(self._model)

    def quantize(self, quantization: Quantization) -> bytes:
        """INT8: weights per channel, activations per tensor, int8 in and out. INT4_WEIGHTS: float32 in and out, weights of 4 bits
        per channel where the runtime executes them.

        Layers kept in float keep what follows them until the next layer, and an end of the file that only they read or write.
        Raises ConversionError, also for a layer that the file does not have, and BadInputError for inputs that cannot calibrate.
        """
        kept = self._tensors_of(quantization.kept_float)
        with converting("the network", to=f"{quantization.scheme} TFLite"), quiet():
            from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

            int8 = quantization.scheme is Scheme.INT8
            chosen = recipe.static_wi8_ai8() if int8 else recipe.dynamic_wi4_afp32()
            work = quantizer.Quantizer(bytearray(self._fp32), chosen)
            for name in sorted(kept):
                work.update_quantization_recipe(
                    f"^{re.escape(name)};$",
                    qtyping.TFLOperationName.ALL_SUPPORTED,
                    algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
                )
            ranges = self._ranges if int8 else {}
            quantized = bytes(work.quantize(ranges, enable_progress_report=False).quantized_model)
            return with_biases_of_zero_filters(quantized, self._model) if int8 else quantized

    def _tensors_of(self, names: Collection[str]) -> set[str]:
        """What the operators of these layers write, and the input where nobody else reads it."""
        missing = sorted(set(names) - set(self.layers))
        if missing:
            raise ConversionError(
                f"the file has no layer {missing[0]} that could be kept in float",
                hint="only convolutions and linear layers can be kept, by their names in the module",
            )
        kept = {tensor for name in names for tensor in self.layers[name].tensors}
        (given,) = self._graph.inputs
        readers = [operator for operator in self._graph.operators if given in operator.inputs]
        if all(self._name(operator.outputs[0]) in kept for operator in readers):
            kept.add(self._name(given))
        return kept

    @cached_property
    def _ranges(self) -> dict[str, Any]:
        if len(self._x_N) == 0 or not np.isfinite(self._x_N).all():
            raise BadInputError(
                "int8 needs calibration inputs with finite values", hint="give at least one, preferably 100"
            )
        from ai_edge_quantizer import calibrator, recipe, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils

        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(recipe.static_wi8_ai8())
        # Least and greatest over all inputs: the library's moving average depends on their order and clips more.
        calibration = calibrator.Calibrator(
            bytearray(self._fp32),
            num_threads=1,
            mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=qsv_utils.min_max_update,
        )
        calibration.calibrate({"serving_default": [{"args_0": x[None]} for x in self._x_N]}, manager)
        ranges: dict[str, Any] = calibration.get_model_qsvs()
        for tensor, known in self._ends.items():
            if known is not None:
                low, high = known
                ranges[self._name(tensor)] = {"min": np.array([low]), "max": np.array([high])}
        for padded in self._padded():
            ranges.update(dict.fromkeys(padded[1:], ranges[padded[0]]))
        for joined in self._concatenated():
            shared = {
                "min": np.min([ranges[name]["min"] for name in joined], axis=0),
                "max": np.max([ranges[name]["max"] for name in joined], axis=0),
            }
            ranges.update(dict.fromkeys(joined, shared))
        return ranges

    def _padded(self) -> Iterator[list[str]]:
        """Names of what is read, padded with and written where that is minus infinity, before a pool: any range's least number."""
        for operator in self._graph.operators:
            if operator_name(self._model.operatorCodes[operator.opcodeIndex]) == "PADV2":
                x, _, value = operator.inputs
                stored = self._model.buffers[self._graph.tensors[value].buffer].data
                if stored is not None and np.asarray(stored, np.uint8).tobytes() == np.float32(-np.inf).tobytes():
                    yield [self._name(index) for index in (x, value, operator.outputs[0])]

    def _concatenated(self) -> Iterator[list[str]]:
        """Names of the tensors of each concatenation: of one scale, else the quantizer puts an operator before it to convert."""
        from ai_edge_litert.schema_py_generated import BuiltinOperator

        for operator in self._graph.operators:
            if self._model.operatorCodes[operator.opcodeIndex].builtinCode == BuiltinOperator.CONCATENATION:
                yield [self._name(index) for index in (*operator.inputs, *operator.outputs)]

    def _name(self, tensor: int) -> str:
        return str(self._graph.tensors[tensor].name.decode())


def quantize_int8(
    fp32: bytes,
    x_N: npt.NDArray[np.float32],
    *,
    input_range: Range | None = (0.0, 1.0),
    output_range: Range | None = (0.0, 1.0),
) -> bytes:
    """Full-integer form of a file from `convert_fp32`; see `FileQuantizer`."""
    quantizer = FileQuantizer(fp32, x_N, input_range=input_range, output_range=output_range)
    return quantizer.quantize(Quantization(scheme=Scheme.INT8))
