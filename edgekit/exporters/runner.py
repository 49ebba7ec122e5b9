"""Runs a .tflite, .onnx or compiled .so file on arrays, in a process of its own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError
from edgekit.core.isolation import run_isolated

_TFLITE = "_run_file.py"
_PROGRAMS = {".onnx": "_run_onnx.py", ".so": "_run_tvm.py"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """`outputs` [N, ...] dequantised, laid out as in the file, `times_ms` [N] of the inferences one by one."""

    outputs: npt.NDArray[np.float32]
    times_ms: npt.NDArray[np.float64]


def run_in_subprocess(
    path: Path,
    x_N: npt.NDArray[np.float32] | npt.NDArray[np.uint8],
    *,
    timeout_s: float = 60,
    threads: int = 1,
    signature: str | None = None,
) -> RunResult:
    """Runs the file, or one signature of a merged .tflite file, once for each of the N inputs.

    float32 is what the network takes after preprocessing; it is mapped to the integers of a quantised input by the
    file's own scale and zero point. uint8 are pixels of a network that takes [0, 1]. A .so is native code and may do what
    the user may, limits of memory and time aside: run only one that edgekit compiled. Raises BadInputError where the file is
    refused, crashes the runtime, takes another shape, has no such signature, does not finish in time, or was compiled for
    another processor.
    """
    if not path.is_file():
        raise BadInputError(f"{path} is not a file", hint="give a .tflite, .onnx or .so file")
    program = Path(__file__).with_name(_PROGRAMS.get(path.suffix, _TFLITE))
    x = x_N / np.float32(255) if x_N.dtype == np.uint8 else x_N
    with tempfile.TemporaryDirectory(prefix="edgekit-run-") as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", x.astype(np.float32), allow_pickle=False)
        arguments = (str(path.resolve()), str(threads), *([] if signature is None else [signature]))
        try:
            run_isolated(program, arguments, path=path, folder=folder, timeout_s=timeout_s, threads=threads)
        except TimeoutError as error:
            raise BadInputError(
                f"{path} did not finish {len(x)} inferences within {timeout_s:g} s",
                hint="give fewer inputs or more time",
            ) from error
        return RunResult(
            outputs=np.load(folder / "outputs.npy", allow_pickle=False),
            times_ms=np.load(folder / "times_ms.npy", allow_pickle=False),
        )
