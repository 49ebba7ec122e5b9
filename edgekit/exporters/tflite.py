"""From a torch module to a .tflite file: fp32 by litert_torch, int8 by ai_edge_quantizer on the fp32 file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.core.images import value_range
from edgekit.core.model import Model
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact, quantization_for, write_artifact
from edgekit.exporters.conversion import converting
from edgekit.exporters.layer_names import with_full_names
from edgekit.exporters.layout import to_file
from edgekit.exporters.metadata import embed
from edgekit.exporters.quantizer import FileQuantizer
from edgekit.exporters.quiet import quiet
from edgekit.exporters.sparse import sparsify


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
    quantization = quantization_for(model, precision)
    fp32 = convert_fp32(model)
    path = folder / "model.tflite"
    if quantization is None:
        return write_artifact(embed(sparsify(fp32) if model.masks else fp32, model), path)
    quantized = quantizer_of(model, fp32, calibration_N).quantize(quantization)
    reference = write_artifact(embed(fp32, model), folder / "model.fp32.tflite")
    return write_artifact(embed(quantized, model), path, quantization, reference)


def convert_fp32(model: Model) -> bytes:
    """The module as a flatbuffer, float32 of batch 1, laid out as in `edgekit.exporters.layout`. Raises ConversionError."""
    from torch import fx

    if "genotype" not in model.provenance or isinstance(model.module, fx.GraphModule):
        return _converted(model)
    return _converted_once(_Assembled(content=_content(model), model=model))


@dataclass(frozen=True, slots=True)
class _Assembled:
    """An assembled network, by all that its module holds: fleets ask for the same one for several targets, `--runtime auto` in
    several precisions."""

    content: bytes
    model: Model = field(compare=False)


def _content(model: Model) -> bytes:
    """A digest of the input's shape, each layer's class and settings, and all tensors."""
    module, digest = model.module, sha256(repr(model.input_shape).encode())
    for name, layer in module.named_modules():
        settings = sorted((key, repr(value)) for key, value in vars(layer).items() if not key.startswith("_"))
        digest.update(repr((name, type(layer), settings)).encode())
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode() + tensor.detach().numpy().tobytes())
    return digest.digest()


@lru_cache(maxsize=8)
def _converted_once(network: _Assembled) -> bytes:
    return _converted(network.model)


def _converted(model: Model) -> bytes:
    with converting("the network", to="TFLite"), quiet():
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
