"""From a torch module to a .tflite file: fp32 by litert_torch, int8 by ai_edge_quantizer on the fp32 file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.core.images import value_range
from edgekit.core.model import Model, Quantization, Scheme
from edgekit.core.records import sha256_of, write_bytes
from edgekit.devices.precision import Precision
from edgekit.exporters.conversion import converting
from edgekit.exporters.layer_names import with_full_names
from edgekit.exporters.layout import to_file
from edgekit.exporters.metadata import embed
from edgekit.exporters.quantizer import FileQuantizer
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
    """Writes `model.tflite` into `folder`, with labels and preprocessing inside; where it is quantised also `model.fp32.tflite`.

    What is quantised the model says; one that says nothing is made full integer where `precision` is int8.

    Of a model with masks, the weights of an fp32 file are sparse where that takes fewer bytes.
    `calibration_N` are inputs as the file takes them (`edgekit.exporters.layout`: pictures channels last), preprocessed; fp32 does
    not look at them. Raises ConversionError, BadInputError.
    """
    fp32 = convert_fp32(model)
    default = Quantization(scheme=Scheme.INT8) if precision is Precision.INT8 else None
    quantization = model.quantization or default
    if quantization is None:
        return _write(sparsify(fp32) if model.masks else fp32, model, folder / "model.tflite", Precision.FP32)
    quantized = quantizer_of(model, fp32, calibration_N).quantize(quantization)
    activations = Precision.INT8 if quantization.scheme is Scheme.INT8 else Precision.FP32
    reference = _write(fp32, model, folder / "model.fp32.tflite", Precision.FP32)
    return _write(quantized, model, folder / "model.tflite", activations, reference, quantization)


def convert_fp32(model: Model) -> bytes:
    """The module as a flatbuffer, float32 of batch 1, laid out as in `edgekit.exporters.layout`. Raises ConversionError."""
    with converting("the network to TFLite"), quiet():
        import litert_torch
        import torch

        from edgekit.exporters.channels_last import ChannelsLast

        x_N = torch.from_numpy(to_file(np.zeros((1, *model.input_shape), np.float32)))
        module = with_full_names(model.module) if isinstance(model.module, torch.fx.GraphModule) else model.module
        return bytes(litert_torch.convert(ChannelsLast(module).eval(), (x_N,)).model_content())


def quantizer_of(model: Model, fp32: bytes, calibration_N: npt.NDArray[np.float32]) -> FileQuantizer:
    """For the file of `convert_fp32(model)`."""
    return FileQuantizer(
        fp32,
        calibration_N,
        input_range=None if model.preprocessing is None else value_range(model.preprocessing),
        output_range=model.output_range,
    )


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
