"""The host program of an early exit: calls compiled networks one after the other until one is sure.

After DyCL (arXiv 2307.04963): a compiler of static graphs gets static sub-networks, and what decides between them stays outside, in
a program of a few lines that knows no runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError
from edgekit.core.records import read_json, write_json
from edgekit.exporters.exporter import exporter_of
from edgekit.exporters.runner import RunResult

PROGRAM = "early_exit.json"
_SCHEMA = 1

Stage = Callable[[npt.NDArray[np.float32]], RunResult]
"""A compiled network: preprocessed pictures `x_NHWC` -> `p_NK`, and the time of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFile:
    """A compiled network of the program: `file` lies beside it, and in a file with several networks it is that of `signature`."""

    name: str
    file: str
    signature: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyExitProgram:
    """The answer of a stage stands where its likeliest output has a probability of at least `threshold`."""

    threshold: float
    stages: tuple[StageFile, ...]

    @classmethod
    def read(cls, folder: Path) -> EarlyExitProgram:
        """From the PROGRAM of a build folder. Raises BadInputError."""
        record = read_json(folder / PROGRAM, schema_version=_SCHEMA)
        try:
            stages = tuple(StageFile(**stage) for stage in record["stages"])
            program = cls(threshold=float(record["threshold"]), stages=stages)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"{folder / PROGRAM} is damaged: {error}", hint="build the folder again") from error
        strangers = [stage.file for stage in stages if Path(stage.file).name != stage.file]
        if strangers or not stages:
            raise BadInputError(
                f"{folder / PROGRAM} names {', '.join(strangers) or 'no files'}, expected files beside it",
                hint="build the folder again",
            )
        return program

    def write(self, folder: Path) -> None:
        write_json(folder / PROGRAM, {"schema_version": _SCHEMA, **self._record()})

    def _record(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "stages": [asdict(stage) for stage in self.stages]}

    def load(self, folder: Path, *, threads: int = 1) -> tuple[Stage, ...]:
        """The stages, each run in a process of its own."""
        return tuple(file_stage(folder / stage.file, stage.signature, threads=threads) for stage in self.stages)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """`p_NK` of the stage `stage_N` that answered; `times_ms` [N] are those of all stages that saw the picture."""

    p_NK: npt.NDArray[np.float32]
    stage_N: npt.NDArray[np.int64]
    times_ms: npt.NDArray[np.float64]


def answer(stages: Sequence[Stage], pictures: Sequence[npt.NDArray[np.float32]], *, threshold: float) -> Answers:
    """`pictures[i]` are the N inputs of stage i, N at least 1, all of the same pictures; the last stage answers what is left."""
    open_N = np.arange(len(pictures[0]))
    stage_N, times_ms = np.zeros(len(open_N), np.int64), np.zeros(len(open_N))
    parts = []
    for index, (stage, x_NHWC) in enumerate(zip(stages, pictures, strict=True)):
        run = stage(x_NHWC[open_N])
        parts.append((open_N, run.outputs))
        stage_N[open_N] = index
        times_ms[open_N] += run.times_ms
        open_N = open_N[~sure(run.outputs, threshold)]
        if not len(open_N):
            break
    p_NK = parts[0][1].copy()
    for seen_N, outputs in parts[1:]:
        p_NK[seen_N] = outputs
    return Answers(p_NK=p_NK, stage_N=stage_N, times_ms=times_ms)


def sure(p_NK: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.bool_]:
    """Whose likeliest output reaches the threshold."""
    reached: npt.NDArray[np.bool_] = p_NK.max(axis=1) >= threshold
    return reached


def file_stage(path: Path, signature: str | None = None, *, threads: int = 1) -> Stage:
    """A stage out of a file of any runtime, or out of one signature of it."""
    return partial(exporter_of(path).run, path, threads=threads, signature=signature)
