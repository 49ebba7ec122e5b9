"""TFLite's flatbuffer as objects and back.

`Any` stands for the classes of `ai_edge_litert.schema_py_generated`, which carry no types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from edgekit.core.errors import BadInputError

IDENTIFIER = b"TFL3"


def unpack(content: bytes, *, name: str) -> Any:
    """The `ModelT` in `content`, all buffers inside it. Raises BadInputError, naming `name`, where there is none."""
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != IDENTIFIER:
        raise BadInputError(f"{name} is not a TFLite file", hint="give a .tflite file")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        for buffer in model.buffers:
            if buffer.offset:
                # Writers of large files put the data behind the flatbuffer.
                buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
    except Exception as error:  # a broken flatbuffer makes the generated reader trip anywhere
        raise BadInputError(f"{name} is a damaged TFLite file: {error}", hint="make or copy the file again") from error
    return model


def pack(model: Any, *, share: bool = False) -> bytes:
    """The flatbuffer of a `ModelT`, each buffer aligned to 16 bytes as the schema demands.

    `share` stores strings and vectors of numbers that are equal once, above all the zero points of per-channel scales.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(1024)
            self._written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: Any) -> Any:  # noqa: N802
            if x.dtype == np.uint8:  # a buffer, whose alignment depends on where it stands
                return super().CreateNumpyVector(x)
            return self._once((x.dtype.str, x.tobytes()), partial(super().CreateNumpyVector, x))

        def CreateString(self, s: str | bytes) -> Any:  # noqa: N802
            content = s.encode() if isinstance(s, str) else s
            return self._once(("string", content), partial(super().CreateString, content))

        def _once(self, key: tuple[str, bytes], write: Callable[[], int]) -> int:
            if key not in self._written:
                self._written[key] = write()
            return self._written[key]

    class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
        """The generated writer forgets the schema's `force_align: 16`."""

        def Pack(self, builder: Any) -> int:  # noqa: N802
            if self.data is not None:
                builder.Prep(16, len(self.data))
            return int(super().Pack(builder))

    plain = model.buffers
    model.buffers = [AlignedBuffer(data=buffer.data, offset=buffer.offset, size=buffer.size) for buffer in plain]
    builder = SharingBuilder() if share else flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    model.buffers = plain
    return bytes(builder.Output())


def operator_name(code: Any) -> str:
    """What the schema calls the operator of an `OperatorCodeT`."""
    # Codes below 127 stand in the deprecated field of older files.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _operator_names()[number]
    return f"CUSTOM {code.customCode.decode()}" if name == "CUSTOM" else name


@cache
def _operator_names() -> Mapping[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
