"""Runs a .tflite file in a process of its own: a bad file can corrupt the heap of the interpreter that opens it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError

_SCRIPT = Path(__file__).with_name("_run_file.py")
# The runtime, numpy and one thread take 0.2 GB of addresses; each thread reserves up to 0.1 GB more.
_ADDRESS_SPACE_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """`outputs` [N, ...] dequantised, `times_ms` [N] of the inferences one by one."""

    outputs: npt.NDArray[np.float32]
    times_ms: npt.NDArray[np.float64]


def run_in_subprocess(
    path: Path,
    x_NHWC: npt.NDArray[np.float32] | npt.NDArray[np.uint8],
    *,
    timeout_s: float = 60,
    threads: int = 1,
    signature: str | None = None,
) -> RunResult:
    """Runs the file, or one signature of a merged file, once for each of the N inputs.

    float32 is what the network takes after preprocessing; it is mapped to the integers of a quantised input by the
    file's own scale and zero point. uint8 are pixels of a network that takes [0, 1]. Raises BadInputError where the
    file is refused, crashes the interpreter, takes another shape, has no such signature, or does not finish in time.
    """
    if not path.is_file():
        raise BadInputError(f"{path} is not a file", hint="name a .tflite file")
    x = x_NHWC / np.float32(255) if x_NHWC.dtype == np.uint8 else x_NHWC
    with tempfile.TemporaryDirectory(prefix="edgekit-run-") as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", x.astype(np.float32), allow_pickle=False)
        limits = (threads, _ADDRESS_SPACE_BYTES, math.ceil(timeout_s * threads))
        command = [sys.executable, "-I", str(_SCRIPT), str(path.resolve()), name, *map(str, limits)]
        command += [] if signature is None else [signature]
        try:
            child = subprocess.run(  # noqa: S603 (our own interpreter and script, no shell)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=timeout_s,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _too_slow(path, len(x), timeout_s) from error
        if child.returncode == -signal.SIGXCPU:
            raise _too_slow(path, len(x), timeout_s)
        if child.returncode < 0:
            raise BadInputError(
                f"{path} crashed the interpreter ({signal.Signals(-child.returncode).name})",
                hint="the file is damaged or not meant for TFLite on this machine",
            )
        if child.returncode > 0:
            refusal = folder / "refusal.txt"
            reason = refusal.read_text() if refusal.exists() else child.stderr.decode(errors="replace").strip()[-300:]
            raise BadInputError(f"the interpreter refused {path}: {reason}", hint="check that the file is whole")
        return RunResult(
            outputs=np.load(folder / "outputs.npy", allow_pickle=False),
            times_ms=np.load(folder / "times_ms.npy", allow_pickle=False),
        )


def _too_slow(path: Path, inputs: int, timeout_s: float) -> BadInputError:
    return BadInputError(
        f"{path} did not finish {inputs} inferences within {timeout_s:g} s", hint="give fewer inputs or more time"
    )
