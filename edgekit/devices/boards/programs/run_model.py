"""Runs one model file on a board and tells how long each run took, or where instructions are counted, how many it took.

It needs numpy and the runtime of the file: LiteRT or its forerunner for .tflite, ONNX Runtime for .onnx, and for the .so of a
compiled network TVM's runtime with tvm_ffi. `tell_facts.py` lies beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import math
import os
import re
import resource
import signal
import statistics
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

# System calls that the counting plug-in of the lab takes for the beginning (odd) and the end (even) of a region.
_MARK = 0x454B0000
_WINDOW, _SETTLED, _UNCOUNTED, _LEAST_RUNS = 5, 0.02, 10, 10
# Exit code for a file that cannot be run so, which is no fault of the board.
_UNSUITABLE = 3
# Of the ELF header: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
_ELF, _MACHINES = b"\x7fELF\x02\x01", {62: "x86_64", 183: "aarch64"}
_HEADER_BYTES, _MACHINE_AT, _SECTIONS_AT, _SECTION_SIZE_AT = 64, 18, 40, 58
# What the compiler assumes of arrays, for loads of whole registers.
_ALIGNED_BYTES = 64
# TVM's numbers for the processor and for the allocator that keeps memory from run to run.
_CPU, _POOLED = 1, 2


class UnsuitableError(ValueError):
    """Why a file cannot be run so: a sentence of which it is the subject."""


class Model(ABC):
    """A file that one runtime has opened."""

    packages: tuple[str, ...]
    """Names of the runtime, of which one is installed."""
    shapes: list[list[int]]
    """Of the inputs."""
    results: int

    @abstractmethod
    def set(self, index: int, x: Any) -> None:
        """An input of the file's shape in float32, as the network takes it before it is quantised."""

    @abstractmethod
    def run(self) -> None: ...

    @abstractmethod
    def output(self) -> Any:
        """The first, in the file's own type."""


class TfliteModel(Model):
    packages = ("ai-edge-litert", "tflite-runtime")

    def __init__(self, path: str, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            from tflite_runtime.interpreter import Interpreter
        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._output = outputs[0]["index"]
        self.shapes = [given["shape"].tolist() for given in self._inputs]
        self.results = len(outputs)

    def set(self, index: int, x: Any) -> None:
        """A quantised input is mapped to integers by its scale and zero point."""
        given = self._inputs[index]
        if given["dtype"] != np.float32:
            scale, zero_point = given["quantization"]
            limits = np.iinfo(given["dtype"])
            x = np.clip(np.round(x / scale) + zero_point, limits.min, limits.max)
        self._interpreter.set_tensor(given["index"], x.astype(given["dtype"]))

    def run(self) -> None:
        self._interpreter.invoke()

    def output(self) -> Any:
        return self._interpreter.get_tensor(self._output)


class OnnxModel(Model):
    packages = ("onnxruntime",)

    def __init__(self, path: str, threads: int) -> None:
        # Else it reports to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        # A free batch is of one.
        self.shapes = [[1, *given.shape[1:]] if given.shape else [] for given in self._inputs]
        self.results = len(outputs)
        unfit = [given.type for given in self._inputs if given.type != "tensor(float)"]
        unfit += [str(shape) for shape in self.shapes if not all(isinstance(length, int) for length in shape)]
        if unfit:
            raise UnsuitableError(f"it takes {unfit[0]}, expected tensor(float) of fixed lengths")
        # As in the other runtimes, a run copies neither inputs nor outputs.
        self._bound = self._session.io_binding()
        for result in outputs:
            self._bound.bind_output(result.name)

    def set(self, index: int, x: Any) -> None:
        self._bound.bind_cpu_input(self._inputs[index].name, np.ascontiguousarray(x, np.float32))

    def run(self) -> None:
        self._session.run_with_iobinding(self._bound)

    def output(self) -> Any:
        return self._bound.copy_outputs_to_cpu()[0]


class TvmModel(Model):
    """Of a file whose function `main` goes from one float32 array to one. Opening it runs native code of the file's."""

    packages = ("apache-tvm",)
    results = 1

    def __init__(self, path: str, threads: int) -> None:
        module = compiled_module(path, threads)
        try:
            machine = module["vm_load_executable"]()
            machine["vm_initialization"](_CPU, 0, _POOLED)
            self._main = machine["main"]
        except AttributeError:
            raise UnsuitableError("it has no function main that TVM compiled") from None
        # It tells the shape that it checks, and nothing else does.
        told = re.search(r'loc=param\[0\].*?R\.Tensor\(\(([\d, ]+)\), dtype="float32"\)', module["stats"]())
        if told is None or machine["get_function_arity"]("main") != 1:
            raise UnsuitableError("it has a function main of other inputs than one float32 array of a fixed shape")
        self.shapes = [[int(length) for length in told[1].split(",") if length.strip()]]
        self._x = aligned(self.shapes[0], "float32")
        self._given = given(self._x)
        self._y: Any = None

    def set(self, index: int, x: Any) -> None:  # noqa: ARG002 (there is one)
        self._x[...] = x

    def run(self) -> None:
        self._y = self._main(self._given)

    def output(self) -> Any:
        if not hasattr(self._y, "__dlpack__"):
            raise UnsuitableError("it gives other outputs than one array")
        return np.from_dlpack(self._y)


def compiled_module(path: str, threads: int) -> Any:
    """What tvm_ffi makes of a .so, with TVM's runtime alone."""
    check_library(Path(path))
    os.environ["TVM_NUM_THREADS"] = str(threads)
    # Else they are pinned to cores, whatever else runs there; the other runtimes' are not.
    os.environ["TVM_BIND_THREADS"] = "0"
    # tvm_ffi imports torch where there is one, which takes seconds and has no use here.
    modules: dict[str, Any] = sys.modules
    modules.setdefault("torch", None)
    import tvm_ffi

    # All of TVM would bring its compiler along.
    found = find_spec("tvm")
    if found is None or not found.submodule_search_locations:
        raise ImportError("No module named 'tvm'")
    library = Path(next(iter(found.submodule_search_locations))) / "lib" / "libtvm_runtime.so"
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    return tvm_ffi.load_module(str(Path(path).absolute()))


def aligned(shape: list[int], dtype: str) -> Any:
    """Zeros, placed as compiled networks need them."""
    size = np.dtype(dtype).itemsize * math.prod(shape)
    room = np.zeros(size + _ALIGNED_BYTES, np.uint8)
    start = -room.ctypes.data % _ALIGNED_BYTES
    return room[start : start + size].view(dtype).reshape(shape)


def given(x: Any) -> Any:
    """An array as an argument of a compiled function."""
    import tvm_ffi

    return tvm_ffi.from_dlpack(x)


def check_library(path: Path) -> None:
    """Raises UnsuitableError for a library of another processor, and for one that is cut short: it would end the process."""
    content = path.read_bytes()
    if not content.startswith(_ELF) or len(content) < _HEADER_BYTES:
        raise UnsuitableError("it is not a shared library of a 64-bit system")
    (number,) = struct.unpack_from("<H", content, _MACHINE_AT)
    here, made_for = os.uname().machine, _MACHINES.get(number, f"ELF machine {number}")
    if made_for != here:
        raise UnsuitableError(f"it was compiled for {made_for}, not for {here}")
    (sections,) = struct.unpack_from("<Q", content, _SECTIONS_AT)
    size, count = struct.unpack_from("<HH", content, _SECTION_SIZE_AT)
    if sections + size * count > len(content):
        raise UnsuitableError(f"it is incomplete: it has {len(content)} of {sections + size * count} bytes")


def opened(path: str, threads: int) -> Model:
    """Raises UnsuitableError, and ImportError where the runtime is not installed."""
    kinds: dict[str, Callable[[str, int], Model]] = {".tflite": TfliteModel, ".onnx": OnnxModel, ".so": TvmModel}
    try:
        return kinds[Path(path).suffix](path, threads)
    except (ImportError, UnsuitableError):
        raise
    except Exception as error:  # each runtime has exceptions of its own for what it cannot read
        raise UnsuitableError(f"it cannot be opened: {' '.join(str(error).split())[:300]}") from error


def set_seeded(model: Model) -> None:
    """Every input to numbers in [0, 1), the same each time."""
    numbers = np.random.default_rng(0)
    for index, shape in enumerate(model.shapes):
        model.set(index, numbers.random(shape, dtype=np.float32))


def mark(number: int) -> None:
    with contextlib.suppress(OSError):
        os.getpgid(_MARK | number)


def timed(model: Model) -> float:
    start = time.perf_counter_ns()
    model.run()
    return (time.perf_counter_ns() - start) / 1e6


def warmed_up(model: Model, most: int, seconds: float) -> tuple[list[float], bool]:
    """Runs until the median of five is that of the five before, at least ten and then at most `most` and for `seconds`; their
    times, and whether it came to that."""
    ends = time.monotonic() + seconds
    times: list[float] = []
    while len(times) < 2 * _WINDOW or (len(times) < most and time.monotonic() < ends):
        times.append(timed(model))
        if len(times) >= 2 * _WINDOW:
            before = statistics.median(times[-2 * _WINDOW : -_WINDOW])
            if abs(statistics.median(times[-_WINDOW:]) / before - 1) <= _SETTLED:
                return times, True
    return times, False


def outputs_of(model: Model, x: Any) -> Any:
    """Of each of the inputs. Raises UnsuitableError for a network of several inputs or outputs, or of other shapes."""
    if len(model.shapes) != 1 or model.results != 1 or list(x.shape[1:]) != model.shapes[0][1:]:
        raise UnsuitableError(
            f"it takes inputs of shapes {model.shapes} and gives {model.results} outputs, asked for one of {list(x.shape)}"
        )
    outputs = []
    for row in x:
        model.set(0, row[None])
        model.run()
        outputs.append(np.array(model.output()[0]))
    return np.stack(outputs)


def counted(model: Model) -> dict[str, int]:
    """Of one run, by class, after some others: Python itself takes a few instructions more at first."""
    for _ in range(_UNCOUNTED):
        model.run()
    mark(1)
    model.run()
    mark(2)
    (told,) = regions()
    return told


def regions() -> list[dict[str, int]]:
    """What was executed between the marks, by class, in order."""
    lines = Path(os.environ["EDGEKIT_COUNTS"]).read_text(encoding="utf-8").splitlines()
    return [{name: count for name, count in json.loads(line).items() if name != "region"} for line in lines]


def peak_rss_bytes() -> int:
    """Of this program alone: what getrusage tells begins with what its parent had when it was started."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    import tell_facts

    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--warm-up", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--inputs", default="")
    parser.add_argument("--outputs", default="")
    parser.add_argument("--count", action="store_true")
    options = parser.parse_args()
    # Whoever asked may be gone: nothing is left running on the board.
    signal.alarm(options.limit)
    try:
        model = opened(options.model, options.threads)
        if options.inputs:
            y = outputs_of(model, np.load(options.inputs, allow_pickle=False))
            np.save(options.outputs, y, allow_pickle=False)
    except UnsuitableError as error:
        sys.stderr.write(str(error))
        raise SystemExit(_UNSUITABLE) from error
    set_seeded(model)
    told: dict[str, Any] = {
        "before": tell_facts.state(),
        "warm_up_ms": [],
        "times_ms": [],
        "settled": True,
        "executed": {},
    }
    if options.count:
        told["executed"] = counted(model)
    elif options.runs:
        told["warm_up_ms"], told["settled"] = warmed_up(model, options.warm_up, options.seconds / 3)
        ends = time.monotonic() + options.seconds
        while len(told["times_ms"]) < options.runs and (len(told["times_ms"]) < _LEAST_RUNS or time.monotonic() < ends):
            told["times_ms"].append(timed(model))
    told["sha256"] = hashlib.sha256(Path(options.model).read_bytes()).hexdigest()
    told["after"] = tell_facts.state()
    told["runtime"] = tell_facts.runtime(model.packages)
    told["peak_rss_bytes"] = peak_rss_bytes()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
