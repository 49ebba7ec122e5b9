"""Messages as bytes: arrays and facts in one safetensors blob, of which nothing is executed or unpickled."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from edgekit.core.errors import BadInputError

HEADER_LIMIT = 1 << 20
"""Bytes of names and facts; a message of more is refused unread."""

M = TypeVar("M")
_FACTS = (int, float, str)


def encode(message: Any) -> bytes:
    """A dataclass whose fields are arrays, bytes, whole numbers, floats, texts, or mappings of texts to whole numbers."""
    arrays: dict[str, NDArray[Any]] = {}
    facts: dict[str, object] = {}
    for field in fields(message):
        value = getattr(message, field.name)
        if isinstance(value, bytes):
            arrays[field.name] = np.frombuffer(value, np.uint8)
        elif isinstance(value, np.ndarray):
            arrays[field.name] = np.ascontiguousarray(value)
        else:
            facts[field.name] = list(value) if isinstance(value, tuple) else value
    return bytes(save(arrays, {"message": type(message).__name__, "facts": json.dumps(facts)}))


def is_a(content: bytes, kind: type[object]) -> bool:
    """Whether it says so of itself. Raises BadInputError where it says nothing."""
    return _metadata(content).get("message") == kind.__name__


def decode(content: bytes, kind: type[M]) -> M:
    """The message, with every field of its declared type.

    Raises BadInputError for anything else. Shapes and values are the receiver's to check.
    """
    metadata = _metadata(content)
    if metadata.get("message") != kind.__name__:
        raise BadInputError(
            f"a message {str(metadata.get('message'))[:40]!r}, expected {kind.__name__}",
            hint="run the same version of edgekit on the server and the clients",
        )
    try:
        arrays, facts = load(content), json.loads(metadata.get("facts", ""))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(str(error)) from error
    if not isinstance(facts, dict):
        raise _damaged("its facts are no mapping")
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: _value(name, hints[name], arrays, facts) for name in names})


def deflated(content: bytes) -> bytes:
    return zlib.compress(content, 9)


def inflated(content: bytes, size: int) -> bytes:
    """Of `deflated`, where it has `size` bytes; no more than that is ever unpacked. Raises BadInputError."""
    unpacker = zlib.decompressobj()
    try:
        whole = unpacker.decompress(content, size)
        over = unpacker.decompress(unpacker.unconsumed_tail, 1) if unpacker.unconsumed_tail else b""
    except zlib.error as error:
        raise _damaged(str(error)) from error
    if len(whole) != size or over or not unpacker.eof:
        raise _damaged(f"packed bytes that are not {size} long")
    return whole


def _metadata(content: bytes) -> dict[str, str]:
    """Of the header, whose length is checked before it is read."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(HEADER_LIMIT, len(content) - 8):
        raise _damaged("its header is not whole")
    try:
        header = json.loads(content[8 : 8 + size])
    except ValueError as error:
        raise _damaged(str(error)) from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise _damaged("it has no metadata")
    return metadata


def _value(name: str, hint: Any, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, object]) -> object:
    if hint is bytes or hint in (NDArray[np.float32], NDArray[np.int32]):
        array = arrays.get(name)
        dtype = np.uint8 if hint is bytes else hint.__args__[1].__args__[0]
        if array is None or array.dtype != dtype:
            raise _damaged(f"{name} is {'missing' if array is None else array.dtype}, expected {np.dtype(dtype)}")
        return array.tobytes() if hint is bytes else array
    value = facts.get(name)
    if hint in _FACTS:
        if isinstance(value, bool) or not isinstance(value, (int, float) if hint is float else hint):
            raise _damaged(f"{name} is {str(value)[:40]!r}, expected {hint.__name__}")
        return value
    if hint == Mapping[str, int] and isinstance(value, dict):
        if not all(type(number) is int for number in value.values()):
            raise _damaged(f"{name} holds something else than whole numbers")
        return value
    if hint == tuple[str, ...] and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise _damaged(f"{name} is {str(value)[:40]!r}")


def _damaged(reason: str) -> BadInputError:
    return BadInputError(
        f"a message cannot be read: {reason}", hint="run the same version of edgekit on the server and the clients"
    )
