"""A network in a .tflite file, run by LiteRT or its forerunner."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.deploy.programs.refusal import USAGE, Refusal, missing

MODEL = "model.tflite"


class Network:
    """One network of the file: that of `signature` where it has several, else the one that runs when none is named."""

    def __init__(self, path: Path, threads: int, signature: str | None) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            try:
                from tflite_runtime.interpreter import Interpreter
            except ImportError:
                raise missing("LiteRT", "ai-edge-litert") from None
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        names = list(interpreter.get_signature_list())
        if signature is not None and signature not in names:
            raise Refusal(f'{path} has no network "{signature}", it has {", ".join(names)}', USAGE)
        self.metadata = metadata_of(path.read_bytes(), signature)
        if signature is not None:
            self._runner = interpreter.get_signature_runner(signature)
            ((self._name, self._input),) = self._runner.get_input_details().items()
            ((self._answer, self._output),) = self._runner.get_output_details().items()
        else:
            interpreter.allocate_tensors()
            self._runner = None
            (self._input,), (self._output,) = interpreter.get_input_details(), interpreter.get_output_details()
        self._interpreter = interpreter

    def prepared(self, x_HWC: Any) -> Any:
        """The preprocessed picture as the file takes it: integers where it is quantised, by its own scale and zero point."""
        x_NHWC = x_HWC[None]
        if self._input["dtype"] == np.float32:
            return x_NHWC
        scale, zero_point = self._input["quantization"]
        limits = np.iinfo(self._input["dtype"])
        x_NHWC = np.clip(np.rint(x_NHWC / np.float32(scale)) + zero_point, limits.min, limits.max)
        return x_NHWC.astype(self._input["dtype"])

    def run(self, x_NHWC: Any) -> Any:
        if self._runner is not None:
            return self._runner(**{self._name: x_NHWC})[self._answer]
        self._interpreter.set_tensor(self._input["index"], x_NHWC)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])

    def answer(self, y_NK: Any) -> Any:
        """`y_K` in float32."""
        if self._output["dtype"] == np.float32:
            return y_NK[0]
        scale, zero_point = self._output["quantization"]
        return (y_NK[0].astype(np.float32) - zero_point) * np.float32(scale)


def metadata_of(content: bytes, signature: str | None) -> Any:
    """The JSON that edgekit wrote into the file: labels and preprocessing.

    A .tflite file is a flatbuffer. Of its table Model, field 4 lists the buffers and 6 the metadata; of a Metadata, field 0 is
    the name and 1 the number of the buffer; of a Buffer, field 0 are the bytes.
    """
    model = reference(content, 0)
    buffers = {}
    for entry in tables(content, field(content, model, 6)):
        name = vector(content, field(content, entry, 0)).decode()
        place = field(content, entry, 1)
        buffers[name] = struct.unpack_from("<I", content, place)[0] if place else 0
    number = buffers.get(f"edgekit/{signature}", buffers.get("edgekit", 0))
    place = field(content, tables(content, field(content, model, 4))[number], 0)
    if not place:
        raise Refusal("the model says nothing of its labels: take one that edgekit built")
    return json.loads(vector(content, place))


def reference(content: bytes, place: int) -> int:
    """Where the offset at `place` leads."""
    return int(place + struct.unpack_from("<I", content, place)[0])


def field(content: bytes, table: int, number: int) -> int:
    """The place of a table's field; 0 where it is absent."""
    fields = table - struct.unpack_from("<i", content, table)[0]
    at = 4 + 2 * number
    offset = (
        struct.unpack_from("<H", content, fields + at)[0] if at < struct.unpack_from("<H", content, fields)[0] else 0
    )
    return int(table + offset) if offset else 0


def vector(content: bytes, place: int) -> bytes:
    """The bytes, or the string, that the field at `place` refers to."""
    start = reference(content, place)
    return content[start + 4 : start + 4 + struct.unpack_from("<I", content, start)[0]]


def tables(content: bytes, place: int) -> list[int]:
    """The places of the tables that the field at `place` refers to."""
    if not place:
        return []
    start = reference(content, place)
    (count,) = struct.unpack_from("<I", content, start)
    return [reference(content, start + 4 + 4 * index) for index in range(count)]
