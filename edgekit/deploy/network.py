"""What programs in other languages must know of the networks of a build folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.model import Preprocessing
from edgekit.exporters.early_exit import PROGRAM, EarlyExitProgram, StageFile
from edgekit.exporters.exporter import MODEL_FILES, exporter_of
from edgekit.exporters.flatbuffer import unpack
from edgekit.exporters.merge import part
from edgekit.exporters.onnx_file import INPUT, OUTPUT


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """An input or output array: float32, or where `is_int8` numbers of which `scale * (number - zero)` is the real value."""

    name: str
    is_int8: bool = False
    scale: float = 1.0
    zero: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """`signature` names it among those of its file, and is None of what runs when none is named; `number` is its place there."""

    name: str
    path: Path
    signature: str | None
    number: int
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    probabilities: bool
    input: End
    output: End


@dataclass(frozen=True, kw_only=True, slots=True)
class Networks:
    """Asked one after the other until one is at least as sure as `threshold`."""

    stages: tuple[Network, ...]
    threshold: float


def networks_of(folder: Path) -> Networks | None:
    """Of a build folder; None where they do not say what they see in pictures. Raises BadInputError."""
    if (folder / PROGRAM).is_file():
        program = EarlyExitProgram.read(folder)
        files, threshold = program.stages, program.threshold
    else:
        (name,) = (name for name in MODEL_FILES if (folder / name).is_file())
        files, threshold = (StageFile(name="only", file=name),), 0.0
    stages = [_network(folder, file) for file in files]
    known = tuple(stage for stage in stages if stage is not None)
    return Networks(stages=known, threshold=threshold) if len(known) == len(stages) else None


def _network(folder: Path, file: StageFile) -> Network | None:
    path = folder / file.file
    metadata = exporter_of(path).read_metadata(path, signature=file.signature)
    if metadata.preprocessing is None or not metadata.labels:
        return None
    number, given, answer = (
        _tflite_ends(path, file.signature) if path.suffix == ".tflite" else (0, End(name=INPUT), End(name=OUTPUT))
    )
    return Network(
        name=file.name,
        path=path,
        signature=file.signature,
        number=number,
        labels=metadata.labels,
        preprocessing=metadata.preprocessing,
        probabilities=metadata.probabilities,
        input=given,
        output=answer,
    )


def _tflite_ends(path: Path, signature: str | None) -> tuple[int, End, End]:
    from ai_edge_litert.schema_py_generated import TensorType

    graph = unpack(path.read_bytes(), name=str(path))
    names = [definition.signatureKey.decode() for definition in graph.signatureDefs]
    first = [definition.subgraphIndex for definition in graph.signatureDefs].index(0)
    number = first if signature is None else names.index(signature)
    chosen = part(graph, names[number], name=str(path))
    (subgraph,), (definition,) = chosen.subgraphs, chosen.signatureDefs

    def end(tensor_map: Any) -> End:
        tensor, name = subgraph.tensors[tensor_map.tensorIndex], tensor_map.name.decode()
        if tensor.type != TensorType.INT8:
            return End(name=name)
        ((scale,), (zero,)) = tensor.quantization.scale, tensor.quantization.zeroPoint
        return End(name=name, is_int8=True, scale=float(scale), zero=int(zero))

    (given,), (answer,) = definition.inputs, definition.outputs
    return number, end(given), end(answer)
