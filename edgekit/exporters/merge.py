"""Several networks in one .tflite file, a signature each, with the weights that they have in common stored once.

Equal weights become one buffer. Weights that another network's begin with lie inside them: a convolution with fewer of the
same filters is such a beginning, as TFLite stores filter after filter. A buffer of the TFLite schema may give the place of
its bytes in the file (`offset`, `size`) in place of the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgekit.core.errors import BadInputError, UsageError
from edgekit.exporters.flatbuffer import pack, unpack

ALIGNMENT = 16
"""Of every buffer, as the schema demands; also what `offset` and `size` cost, so that shorter ones are not worth a place."""

_SEPARATOR = b"/"


def merge(parts: Mapping[str, bytes]) -> bytes:
    """One file with a signature for each of the files in `parts`, which must hold one network each.

    The first is subgraph 0, which programs run that ask for no signature, and its metadata keeps its names; the metadata
    of another, where it differs, is named `{name}/{signature}`. What lies behind a flatbuffer (the archive with the labels)
    is left out. Raises BadInputError where a part is damaged or holds several networks.
    """
    merger = _Merger()
    for signature, content in parts.items():
        merger.add(signature, content)
    return merger.content()


def part(model: Any, signature: str, *, name: str) -> Any:
    """The network of one signature out of a merged `ModelT`, with its own metadata; changes `model`.

    Raises UsageError, naming the file `name`, for a signature that it does not have.
    """
    definitions = {definition.signatureKey.decode(): definition for definition in model.signatureDefs or []}
    if signature not in definitions:
        raise UsageError(
            f'{name} has no variant "{signature}"', hint=f"it has {', '.join(definitions) or 'no named variants'}"
        )
    definition = definitions[signature]
    metadata = {entry.name: entry for entry in model.metadata or []}
    ending = _SEPARATOR + signature.encode()
    own = {key.removesuffix(ending): entry for key, entry in metadata.items() if key.endswith(ending)}
    for key, entry in own.items():
        entry.name = key
    model.metadata = list((metadata | own).values())
    model.subgraphs = [model.subgraphs[definition.subgraphIndex]]
    model.signatureDefs = [definition]
    return model


def overlay(contents: Iterable[bytes]) -> tuple[bytes, dict[bytes, int]]:
    """Bytes in which every content lies whole, and where it begins: at its own aligned place, or at that of a content
    that begins with it."""
    region = bytearray()
    places: dict[bytes, int] = {}
    longer = None
    for content in sorted(set(contents), reverse=True):  # each comes right behind those that begin with it
        if longer is None or not longer.startswith(content):
            region += bytes(-len(region) % ALIGNMENT)
            longer, place = content, len(region)
            region += content
        places[content] = place
    return bytes(region), places


class _Merger:
    """Collects the tables of the parts, and writes them with new index numbers."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._model = schema.ModelT(
            version=3,
            operatorCodes=[],
            subgraphs=[],
            signatureDefs=[],
            metadata=[],
            buffers=[schema.BufferT()],  # by convention the first is empty
            description="edgekit",
        )
        self._buffers = {b"": 0}
        self._codes: dict[tuple[Any, ...], int] = {}

    def add(self, signature: str, content: bytes) -> None:
        what = f'the network for the signature "{signature}"'
        model = unpack(content, name=what)
        if len(model.subgraphs or []) != 1 or len(model.signatureDefs or []) != 1:
            raise BadInputError(
                f"{what} is a file with {len(model.subgraphs or [])} graphs and {len(model.signatureDefs or [])} signatures, "
                f"expected one of each",
                hint="merge files as edgekit exports them",
            )
        ((subgraph,), (definition,)) = model.subgraphs, model.signatureDefs
        try:
            for operator in subgraph.operators:
                operator.opcodeIndex = self._code(model.operatorCodes[operator.opcodeIndex])
            for tensor in subgraph.tensors:
                tensor.buffer = self._buffer(model.buffers[tensor.buffer])
            self._add_metadata(signature, {entry.name: model.buffers[entry.buffer] for entry in model.metadata or []})
        except (AttributeError, LookupError, TypeError) as error:
            raise BadInputError(f"{what} is damaged: {error}", hint="export the file again") from error
        definition.signatureKey, definition.subgraphIndex = signature, len(self._model.subgraphs)
        self._model.subgraphs.append(subgraph)
        self._model.signatureDefs.append(definition)

    def content(self) -> bytes:
        model = self._model
        region, places = overlay(content for content in self._buffers if len(content) > ALIGNMENT)
        outside = {self._buffers[content]: (len(content), place) for content, place in places.items()}
        start = 1 << 40  # any, to learn the length of the tables
        for _ in range(2):
            for index, (size, place) in outside.items():
                model.buffers[index] = self._schema.BufferT(offset=start + place, size=size)
            tables = pack(model, share=True)
            tables += bytes(-len(tables) % ALIGNMENT)
            start = len(tables)
        return tables + region

    def _code(self, code: Any) -> int:
        key = (code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version)
        if key not in self._codes:
            self._codes[key] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[key]

    def _buffer(self, buffer: Any) -> int:
        content = b"" if buffer.data is None else buffer.data.tobytes()
        if content not in self._buffers:
            self._buffers[content] = self._append(content)
        return self._buffers[content]

    def _add_metadata(self, signature: str, found: Mapping[bytes, Any]) -> None:
        """Inside the flatbuffer and never shared with weights: other readers look for it only there."""
        first = {entry.name: self._model.buffers[entry.buffer].data.tobytes() for entry in self._model.metadata}
        for name, buffer in found.items():
            content = buffer.data.tobytes()
            if first.get(name) != content:
                named = name + _SEPARATOR + signature.encode() if self._model.subgraphs else name
                entry = self._schema.MetadataT(name=named, buffer=self._append(content))
                self._model.metadata.append(entry)

    def _append(self, content: bytes) -> int:
        self._model.buffers.append(self._schema.BufferT(data=np.frombuffer(content, np.uint8)))
        return len(self._model.buffers) - 1
