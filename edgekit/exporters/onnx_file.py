"""From a torch module to an .onnx file: fp32 by torch's exporter, int8 by NNCF on the fp32 file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError, ConversionError
from edgekit.core.model import Model, Scheme
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact, quantization_for, write_artifact
from edgekit.exporters.conversion import converting
from edgekit.exporters.metadata import Metadata, from_json, to_json
from edgekit.exporters.onnx_libraries import import_onnxruntime, require
from edgekit.exporters.quiet import quiet

INPUT: Final = "input"
OUTPUT: Final = "output"
LAYERS: Final = frozenset({"Conv", "Gemm", "MatMul"})
"""Operators that a layer's weights belong to."""
_METADATA = "edgekit"
_SCOPES = "pkg.torch.onnx.name_scopes"

Floats = npt.NDArray[np.float32]


def export_onnx(model: Model, *, precision: Precision, calibration_N: Floats, folder: Path) -> Artifact:
    """Writes `model.onnx` into `folder`, with labels and preprocessing inside; where it is quantised also `model.fp32.onnx`.

    What is quantised the model says; one that says nothing is made int8 where `precision` is, all but the convolutions that read
    its pictures. `calibration_N` (N, *input_shape) are preprocessed inputs, which fp32 does not look at. Raises ConversionError,
    BadInputError, and MissingExtraError without the libraries.
    """
    from edgekit.exporters.onnx_quantization import layers_by_precision, picture_layers, quantize_onnx

    quantization = quantization_for(model, precision)
    if quantization is not None and quantization.scheme is not Scheme.INT8:
        raise ConversionError(
            f"an ONNX file cannot store the scheme {quantization.scheme}",
            hint="quantise to int8, or export to TFLite",
        )
    fp32 = convert_onnx(model)
    path = folder / "model.onnx"
    if quantization is None:
        return write_artifact(_with_metadata(fp32, model), path)
    if model.quantization is None:
        quantization = replace(quantization, kept_float=picture_layers(fp32))
    int8 = quantize_onnx(fp32, calibration_N, kept_float=quantization.kept_float)
    # NNCF leaves the gates of squeeze and excitation as they are.
    left = frozenset(layer for layer, quantised in layers_by_precision(int8).items() if not quantised)
    quantization = replace(quantization, kept_float=quantization.kept_float | left)
    reference = write_artifact(_with_metadata(fp32, model), folder / "model.fp32.onnx")
    return write_artifact(_with_metadata(int8, model), path, quantization, reference)


def convert_onnx(model: Model) -> bytes:
    """The module as an ONNX file: `input` float32 (1, *input_shape) -> `output` float32 (1, ...); its layers have their names.

    Normalisation is folded into the layers before it. The batch is fixed: with a free one, reshaping computes shapes at run time,
    which quantisers and compilers have no use for. Raises ConversionError, and MissingExtraError without the libraries.
    """
    require("onnx", "onnxscript")
    import onnx
    import torch

    x = torch.zeros(1, *model.input_shape)
    with converting("the network", to="ONNX"):
        with quiet(), torch.inference_mode():
            program = torch.onnx.export(
                model.module.eval(),
                (x,),
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
            )
        if program is None:
            raise ValueError("torch gave no program")
        proto = program.model_proto
        _name_nodes(proto.graph, {name for name, _ in model.module.named_modules()})
        file = compact(proto)
        # Beside the operators, this infers all shapes and compares them with those declared.
        onnx.checker.check_model(file, full_check=True)
    return file


def compact(proto: Any) -> bytes:
    """Without dead operators, comments, and traces of where the network was defined; tensors have short names.

    What the exporter and NNCF leave in a file are names and paths: in a small network a tenth of its bytes.
    """
    graph = proto.graph
    wanted = {value.name for value in graph.output}
    live = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            live.append(node)
    short = {name: name for name in (INPUT, OUTPUT, "")}
    numbers = count()
    for node in reversed(live):
        for names in (node.input, node.output):
            for name in names:
                short.setdefault(name, f"t{next(numbers)}")
            names[:] = [short[name] for name in names]
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    for tensor in tensors:
        tensor.name = short[tensor.name]
    _replace(graph.node, reversed(live))
    _replace(graph.initializer, sorted(tensors, key=lambda tensor: int(tensor.name[1:])))
    _replace(graph.value_info, ())
    graph.name = _METADATA
    for one in (proto, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        one.doc_string = ""
        _replace(one.metadata_props, ())
    proto.producer_name, proto.producer_version = _METADATA, ""
    return bytes(proto.SerializeToString(deterministic=True))


def outputs_of(onnx: bytes, x_N: Floats) -> Floats:
    """What a file of our own answers (N, ...), input by input, in this process on one thread.

    Raises MissingExtraError without ONNX Runtime.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {INPUT: x[None]})[0] for x in x_N])


def read_onnx_metadata(path: Path) -> Metadata:
    """What `export_onnx` wrote. Raises BadInputError where the file is damaged or not from edgekit."""
    require("onnx")
    import onnx

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise BadInputError(f"{path} is not an ONNX file: {error}", hint="give an .onnx file") from error
    found = [entry.value for entry in proto.metadata_props if entry.key == _METADATA]
    if not found:
        raise BadInputError(f"{path} has no edgekit metadata", hint="give a file that edgekit exported")
    try:
        return from_json(json.loads(found[0]))
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise BadInputError(f"the metadata in {path} is damaged: {error}", hint="export the file again") from error


def _name_nodes(graph: Any, modules: set[str]) -> None:
    """Layers by their torch modules (a second call of one: `name:2`), others by operator and number."""
    stored = {tensor.name for tensor in graph.initializer}
    calls: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        layer = _module_of(node, stored, modules) if node.op_type in LAYERS else None
        if layer is None:
            node.name = f"{node.op_type}:{number}"
        else:
            calls[layer] = calls.get(layer, 0) + 1
            node.name = layer if calls[layer] == 1 else f"{layer}:{calls[layer]}"


def _module_of(node: Any, stored: set[str], modules: set[str]) -> str | None:
    """The module whose weights a node reads; where they were transposed and so renamed, the module that called it."""
    weight = node.input[1]
    if weight not in stored:
        return None
    owner = weight.removesuffix(".weight")
    if owner in modules:
        return str(owner)
    scopes = [entry.value for entry in node.metadata_props if entry.key == _SCOPES]
    called = [name for name in _strings(scopes[0]) if name in modules] if scopes else []
    return called[-1] if called else None


def _strings(text: str) -> Sequence[str]:
    from ast import literal_eval

    return [str(one) for one in literal_eval(text)]


def _replace(field: Any, entries: Iterable[Any]) -> None:
    """The entries of a repeated field."""
    kept = list(entries)
    copies = [type(one).FromString(one.SerializeToString()) for one in kept]
    del field[:]
    field.extend(copies)


def _with_metadata(file: bytes, model: Model) -> bytes:
    import onnx

    proto = onnx.ModelProto.FromString(file)
    proto.metadata_props.add(key=_METADATA, value=to_json(model).decode())
    return bytes(proto.SerializeToString(deterministic=True))
