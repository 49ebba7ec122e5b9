"""A network in a shared library that TVM compiled, run by TVM's runtime: no file to interpret, but functions to call."""

from __future__ import annotations

import ctypes
import json
import math
import os
import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.deploy.programs.refusal import USAGE, Refusal, missing

MODEL = "model.so"
# TVM's numbers for the processor and for the allocator that keeps memory from run to run.
_CPU, _POOLED = 1, 2
# What the compiled code assumes of arrays, for loads of whole registers.
_ALIGNED_BYTES = 64


class Network:
    """The function `main` of the library, from one float32 array to another, channels last."""

    def __init__(self, path: Path, threads: int, signature: str | None) -> None:
        if signature is not None:
            raise Refusal(f"{path} is one network, without variants: leave --variant out", USAGE)
        machine = os.uname().machine
        made_for, record = contents(path.read_bytes())
        if made_for != machine and (twin := path.with_suffix(f".{machine}.so")).is_file():
            path = twin
        elif made_for != machine:
            raise Refusal(f"{path} was compiled for {made_for}, not for {machine}")
        self.metadata = record["metadata"]
        os.environ["TVM_NUM_THREADS"] = str(threads)
        # Else threads are pinned to cores, whatever else runs there.
        os.environ["TVM_BIND_THREADS"] = "0"
        # tvm_ffi imports torch where there is one, which takes seconds and has no use here.
        modules: dict[str, Any] = sys.modules
        modules.setdefault("torch", None)
        try:
            import tvm_ffi
        except ImportError:
            raise missing("TVM's runtime", "apache-tvm apache-tvm-ffi") from None
        ctypes.CDLL(str(runtime_beside(path)), ctypes.RTLD_GLOBAL)
        virtual = tvm_ffi.load_module(str(path))["vm_load_executable"]()
        virtual["vm_initialization"](_CPU, 0, _POOLED)
        height, width = (record["metadata"]["preprocessing"][name] for name in ("height", "width"))
        self._x = aligned((1, height, width, 3))
        self._given = tvm_ffi.from_dlpack(self._x)
        self._main = virtual["main"]

    def prepared(self, x_HWC: Any) -> Any:
        self._x[...] = x_HWC
        return self._given

    def run(self, given: Any) -> Any:
        return self._main(given)

    def answer(self, y_NK: Any) -> Any:
        """`y_K`."""
        return np.array(np.from_dlpack(y_NK))[0]


def runtime_beside(path: Path) -> Path:
    """TVM's runtime: that beside the model, which is all that a board needs of TVM, or the one of the installed wheel."""
    beside = path.with_name("libtvm_runtime.so")
    if beside.is_file():
        return beside
    found = find_spec("tvm")
    if found is None or not found.submodule_search_locations:
        raise missing("TVM's runtime", "apache-tvm apache-tvm-ffi")
    return Path(next(iter(found.submodule_search_locations))) / "lib" / "libtvm_runtime.so"


def aligned(shape: tuple[int, ...]) -> Any:
    """float32 zeros, placed as compiled networks need them."""
    size = 4 * math.prod(shape)
    room = np.zeros(size + _ALIGNED_BYTES, np.uint8)
    start = -room.ctypes.data % _ALIGNED_BYTES
    return room[start : start + size].view(np.float32).reshape(shape)


def contents(library: bytes) -> tuple[str, Any]:
    """The processor that an ELF file is for, and what edgekit wrote as JSON into its section `.edgekit`."""
    if library[:6] != b"\x7fELF\x02\x01":
        raise Refusal("the model is no shared library of a 64-bit system")
    (number,) = struct.unpack_from("<H", library, 18)
    (start,) = struct.unpack_from("<Q", library, 40)
    size, count, names = struct.unpack_from("<HHH", library, 58)
    if start + size * count > len(library):
        raise Refusal("the model is cut short: copy it anew")
    sections = [struct.unpack_from("<IIQQQQ", library, start + size * index) for index in range(count)]
    (_, _, _, _, strings, _) = sections[names]
    for name, _, _, _, offset, length in sections:
        if library[strings + name :].startswith(b".edgekit\0"):
            return {62: "x86_64", 183: "aarch64"}.get(number, f"ELF machine {number}"), json.loads(
                library[offset : offset + length]
            )
    raise Refusal("the model says nothing of its labels: take one that edgekit built")
