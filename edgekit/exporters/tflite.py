"""From a torch module to a .tflite file: fp32 by litert_torch, int8 by ai_edge_quantizer on the fp32 file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError, ConversionError
from edgekit.core.images import value_range
from edgekit.core.model import Model, Quantization, Scheme
from edgekit.core.records import sha256_of, write_bytes
from edgekit.devices.precision import Precision
from edgekit.exporters.flatbuffer import unpack
from edgekit.exporters.layout import to_file
from edgekit.exporters.metadata import embed
from edgekit.exporters.quiet import quiet
from edgekit.exporters.sparse import sparsify


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One exported file. `precision` is that of its activations, `reference` the fp32 file that it was quantised from, and
    `quantization` what was done to that."""

    path: Path
    precision: Precision
    sha256: str
    size_bytes: int
    reference: Artifact | None = None
    quantization: Quantization | None = None

    @property
    def is_full_integer(self) -> bool:
        """Whether no operator of it may compute in float32."""
        return self.precision is Precision.INT8 and not (self.quantization and self.quantization.kept_float)


def export(
    model: Model,
    *,
    precision: Precision,
    calibration_N: npt.NDArray[np.float32],
    folder: Path,
) -> Artifact:
    """Writes `model.tflite` into `folder`, with labels and preprocessing inside; for int8 also `model.fp32.tflite`.

    Of a model with masks, the weights of an fp32 file are sparse where that takes fewer bytes.
    `calibration_N` are inputs as the file takes them (`edgekit.exporters.layout`: pictures channels last), preprocessed; fp32 does
    not look at them. Raises ConversionError, BadInputError.
    """
    fp32 = convert_fp32(model)
    if precision is Precision.FP32 and model.quantization is None:
        return _write(sparsify(fp32) if model.masks else fp32, model, folder / "model.tflite", Precision.FP32)
    int8 = quantize_int8(
        fp32,
        calibration_N,
        input_range=None if model.preprocessing is None else value_range(model.preprocessing),
        output_range=model.output_range,
    )
    reference = _write(fp32, model, folder / "model.fp32.tflite", Precision.FP32)
    quantization = model.quantization or Quantization(scheme=Scheme.INT8)
    return _write(int8, model, folder / "model.tflite", Precision.INT8, reference, quantization)


def convert_fp32(model: Model) -> bytes:
    """The module as a flatbuffer, float32 of batch 1, laid out as in `edgekit.exporters.layout`. Raises ConversionError."""
    with _converting("the network to TFLite"), quiet():
        import litert_torch
        import torch

        from edgekit.exporters.channels_last import ChannelsLast

        x_N = torch.from_numpy(to_file(np.zeros((1, *model.input_shape), np.float32)))
        return bytes(litert_torch.convert(ChannelsLast(model.module).eval(), (x_N,)).model_content())


def quantize_int8(
    fp32: bytes,
    x_N: npt.NDArray[np.float32],
    *,
    input_range: tuple[float, float] | None = (0.0, 1.0),
    output_range: tuple[float, float] | None = (0.0, 1.0),
) -> bytes:
    """Full-integer form of a file from `convert_fp32`: weights per channel, activations per tensor, int8 in and out.

    A tensor's range is the least and greatest value over the calibration inputs `x_N`. That of the input and of the output does
    not depend on them where it is known: `input_range` is what a picture can hold, so that [0, 1] gives scale 1/255 and zero
    point -128 (a pixel maps exactly to pixel - 128), and probabilities lie in [0, 1]. Raises ConversionError, and BadInputError
    for inputs that cannot calibrate.
    """
    if len(x_N) == 0 or not np.isfinite(x_N).all():
        raise BadInputError("int8 needs calibration inputs with finite values", hint="give at least one, better 100")
    model = unpack(fp32, name="the fp32 file")
    graph = model.subgraphs[0]
    ends = {graph.inputs[0]: input_range, graph.outputs[0]: output_range}
    with _converting("the network to int8"), quiet():
        from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils

        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(recipe.static_wi8_ai8())
        # Least and greatest over all images: the library's moving average depends on their order and clips more.
        calibration = calibrator.Calibrator(
            bytearray(fp32),
            num_threads=1,
            mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=qsv_utils.min_max_update,
        )
        calibration.calibrate({"serving_default": [{"args_0": x[None]} for x in x_N]}, manager)
        ranges = calibration.get_model_qsvs()
        for tensor, known in ends.items():
            if known is not None:
                low, high = known
                ranges[graph.tensors[tensor].name.decode()] = {"min": np.array([low]), "max": np.array([high])}
        for joined in _concatenated(model):
            shared = {
                "min": np.min([ranges[name]["min"] for name in joined], axis=0),
                "max": np.max([ranges[name]["max"] for name in joined], axis=0),
            }
            ranges.update(dict.fromkeys(joined, shared))
        quantization = quantizer.Quantizer(bytearray(fp32), recipe.static_wi8_ai8())
        return bytes(quantization.quantize(ranges, enable_progress_report=False).quantized_model)


def _concatenated(model: Any) -> Iterator[list[str]]:
    """Names of the tensors of each concatenation: of one scale, else the quantizer puts an operator before it to convert."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    graph = model.subgraphs[0]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == BuiltinOperator.CONCATENATION:
            yield [graph.tensors[index].name.decode() for index in (*operator.inputs, *operator.outputs)]


@contextmanager
def _converting(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the converters raise whatever an unsupported network makes them trip over
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(
            f"cannot convert {what}: {reason}",
            hint="a pass that ran before may have used an operator without a TFLite form",
        ) from error


def _write(
    tflite: bytes,
    model: Model,
    path: Path,
    precision: Precision,
    reference: Artifact | None = None,
    quantization: Quantization | None = None,
) -> Artifact:
    write_bytes(path, embed(tflite, model))
    return Artifact(
        path=path,
        precision=precision,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        reference=reference,
        quantization=quantization,
    )
