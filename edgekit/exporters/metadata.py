"""Labels and preprocessing inside the .tflite file: for other tools in TFLite's standard form, for edgekit as JSON.

The standard form is a flatbuffer after `metadata_schema.fbs` of tensorflow/tflite-support (identifier M001), and
`labels.txt` in a zip archive behind the model, so that any unzip program reads it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import BadInputError
from edgekit.core.model import Model, Preprocessing
from edgekit.exporters.flatbuffer import pack, unpack
from edgekit.exporters.merge import part
from edgekit.exporters.standard_metadata import input_name, output_name, standard_metadata

LABELS_FILE = "labels.txt"
_OURS = b"edgekit"
_STANDARD = b"TFLITE_METADATA"
_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    provenance: Mapping[str, str]
    probabilities: bool = True
    """Whether outputs are, or scores before a softmax."""


def embed(tflite: bytes, model: Model) -> bytes:
    """The same network with metadata and short tensor names; the same bytes for the same arguments.

    Arrays without preprocessing or labels need no standard metadata, and outputs without labels no archive.
    """
    graph = unpack(tflite, name="the converted network")
    _name_tensors(graph, input_name(model.preprocessing), output_name(model.output_range))
    if model.preprocessing is not None or model.labels:
        content = standard_metadata(model.labels, model.preprocessing, model.output_range, LABELS_FILE)
        _attach(graph, _STANDARD, content)
    _attach(graph, _OURS, to_json(model))
    return with_labels(pack(graph), model.labels) if model.labels else pack(graph)


def with_labels(tflite: bytes, labels: Sequence[str]) -> bytes:
    """The file with `labels.txt` in an archive behind it."""
    file = io.BytesIO(tflite)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE), "".join(f"{label}\n" for label in labels))
    return file.getvalue()


def read_metadata(path: Path, *, signature: str | None = None) -> Metadata:
    """What `embed` wrote as JSON, for one signature of a merged file.

    Raises BadInputError where the file is damaged or not from edgekit, UsageError where it has no such signature.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint="give a .tflite file") from error
    graph = unpack(content, name=str(path))
    try:
        graph = graph if signature is None else part(graph, signature, name=str(path))
        found = [graph.buffers[entry.buffer].data for entry in graph.metadata or [] if entry.name == _OURS]
        record = json.loads(found[0].tobytes()) if found else {}
        if record.get("schema_version") != _SCHEMA_VERSION:
            raise BadInputError(
                f"{path} has no edgekit metadata of version {_SCHEMA_VERSION}", hint="give a file that edgekit exported"
            )
        return from_json(record)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise BadInputError(f"the metadata in {path} is damaged: {error}", hint="export the file again") from error


def _attach(graph: Any, name: bytes, content: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    graph.metadata = [*(graph.metadata or []), schema.MetadataT(name=name, buffer=len(graph.buffers))]
    graph.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))


def _name_tensors(graph: Any, given: str, answer: str) -> None:
    """The converter's names spell out the path of every torch module: more bytes than a small network's weights."""
    (subgraph,) = graph.subgraphs
    for index, tensor in enumerate(subgraph.tensors):
        tensor.name = f"t{index}"
    (signature,) = graph.signatureDefs
    for (tensor_map,), name in ((signature.inputs, given), (signature.outputs, answer)):
        tensor_map.name = name
        subgraph.tensors[tensor_map.tensorIndex].name = name


def to_json(model: Model) -> bytes:
    record = {
        "schema_version": _SCHEMA_VERSION,
        "labels": model.labels,
        "preprocessing": None if model.preprocessing is None else asdict(model.preprocessing),
        "provenance": dict(model.provenance),
        **({} if model.output_range == (0, 1) else {"probabilities": False}),
    }
    return json.dumps(record, ensure_ascii=False, sort_keys=True).encode()


def from_json(record: Mapping[str, Any]) -> Metadata:
    preprocessing = record["preprocessing"]
    return Metadata(
        labels=tuple(map(str, record["labels"])),
        preprocessing=None if preprocessing is None else _preprocessing(preprocessing),
        provenance={str(key): str(value) for key, value in record["provenance"].items()},
        probabilities=bool(record.get("probabilities", True)),
    )


def _preprocessing(record: Mapping[str, Any]) -> Preprocessing:
    mean_r, mean_g, mean_b = map(float, record["mean"])
    std_r, std_g, std_b = map(float, record["std"])
    return Preprocessing(
        height=int(record["height"]),
        width=int(record["width"]),
        mean=(mean_r, mean_g, mean_b),
        std=(std_r, std_g, std_b),
    )
