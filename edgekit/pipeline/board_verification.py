"""Proof that a file computes on its board what it computes here."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import VerificationError
from edgekit.core.quantity import Quantity
from edgekit.devices.boards.session import BoardSession
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.check import Check
from edgekit.exporters.exporter import exporter_of
from edgekit.exporters.layout import to_file, to_torch
from edgekit.exporters.output_steps import output_steps
from edgekit.exporters.verify import HALF_TOLERANCE
from edgekit.pipeline.on_board import figures_in_session
from edgekit.pipeline.result import Figure

MAX_FP32_DIFFERENCE: Final = 1e-5
_MAX_FLOAT_DIFFERENCE = {Precision.FP32: MAX_FP32_DIFFERENCE, Precision.FP16: HALF_TOLERANCE}
# Of what is quantised and ends in float32: outputs are as coarse as int8 makes them, whatever type they are told in.
_FLOAT_STEP: Final = 1 / 256


def run_on_board(
    session: BoardSession,
    artifact: Artifact,
    x_N: NDArray[np.float32],
    predicted: Quantity | None,
    *,
    are_probabilities: bool,
    threads: int,
) -> tuple[tuple[Check, ...], tuple[Figure, ...]]:
    """What is checked there, which is nothing where the board runs no Python, and what the file costs there.

    Raises as `board_check` does, and UnstableError for times that cannot be trusted.
    """
    checks = (board_check(session, artifact, x_N, are_probabilities=are_probabilities),) if session.runs_python else ()
    return checks, figures_in_session(session, artifact.path, predicted, threads=threads)


def board_check(
    session: BoardSession, artifact: Artifact, x_N: NDArray[np.float32], *, are_probabilities: bool
) -> Check:
    """The largest difference between the board's outputs and those of this machine: fp32 within 1e-5, int8 within one step of the
    output, which is 1/256 where it is told in float32, fp16 within what its roundings make of float32, as machines without its
    arithmetic round oftener. Outputs that are no probabilities are compared in units of the largest.

    Raises VerificationError where it is larger, BoardError as the board gives cause to, BadInputError where the file does not run.
    """
    path = artifact.path
    y_here = exporter_of(path).run(path, x_N).outputs
    y_there = _outputs(session, path, x_N)
    unit = 1.0 if are_probabilities else float(np.abs(y_here).max()) or 1.0
    steps = output_steps(path)
    if artifact.precision is Precision.INT8:
        size, limit, of_what = (_FLOAT_STEP * unit if steps is None else steps.scale), 1.0, ", in steps"
    else:
        size, limit, of_what = unit, _MAX_FLOAT_DIFFERENCE[artifact.precision], ""
    difference = float(np.abs(y_here - y_there).max()) if y_here.shape == y_there.shape else math.inf
    check = Check(
        name=f"{artifact.precision} outputs on {session.board.name} against this machine's{of_what}",
        # Integers that differ by one differ by a step and a rounding of float32.
        value=float(f"{difference / size:.4g}"),
        relation="<=",
        limit=limit,
        detail=f"{len(x_N)} inputs, at most {difference:.2g} apart",
    )
    if not check.passed:
        raise VerificationError(
            f"{path.name} computes different outputs on {session.board.name}: {check}",
            hint="compare the versions of its runtime there and here, or choose another runtime",
        )
    return check


def _outputs(session: BoardSession, path: Path, x_N: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, ...] as this machine's exporter tells them: in float32, pictures channels last."""
    last = exporter_of(path).channels_last
    with tempfile.TemporaryDirectory(prefix="edgekit-board-") as name:
        inputs, outputs = Path(name) / "inputs.npy", Path(name) / "outputs.npy"
        np.save(inputs, x_N if last else to_torch(x_N), allow_pickle=False)
        session.outputs(path, inputs, outputs)
        y_N: NDArray[np.generic] = np.load(outputs, allow_pickle=False)
    steps = output_steps(path)
    y_float: NDArray[np.float32] = y_N.astype(np.float32) if steps is None else steps.to_float(y_N)
    return y_float if last else to_file(y_float)
