"""Opens foreign files in processes of their own: a bad file can exhaust, hang or corrupt what opens it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.core.errors import BadInputError

_ISOLATED = Path(__file__).with_name("_isolated.py")


def run_isolated(
    program: Path,
    arguments: Sequence[str],
    *,
    path: Path,
    folder: Path,
    timeout_s: float,
    threads: int = 1,
    address_space_bytes: int = 4 << 30,
) -> None:
    """Runs `program` on the foreign file `path`; it gets `folder` and the arguments.

    A model runtime, numpy and one thread take 0.2 GB of addresses; each thread reserves up to 0.1 GB more.

    Raises TimeoutError where it takes longer than `timeout_s`, BadInputError, naming `path`, where it crashes or raises.
    """
    limits = address_space_bytes, math.ceil(timeout_s * threads)
    ours = map(str, (_ISOLATED, folder, *limits, program))
    command = [sys.executable, "-I", *ours, *arguments]
    try:
        child = subprocess.run(  # noqa: S603 (our own interpreter and programs, no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    if child.returncode == -signal.SIGXCPU:
        raise TimeoutError
    if child.returncode < 0:
        raise BadInputError(
            f"{path} crashed the process that opened it ({signal.Signals(-child.returncode).name})",
            hint="the file is damaged, or was made for another machine",
        )
    if child.returncode > 0:
        refusal = folder / "refusal.txt"
        reason = refusal.read_text() if refusal.exists() else child.stderr.decode(errors="replace").strip()[-300:]
        raise BadInputError(f"{path} was refused: {reason}", hint="check that the file is complete")
