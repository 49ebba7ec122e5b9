"""One assembled network as files of several runtimes: exported, verified, run on the board where there is one, and one taken."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgekit.core.budget import Cost
from edgekit.core.errors import (
    BadInputError,
    BoardError,
    ConversionError,
    MissingExtraError,
    UnstableError,
    UsageError,
    VerificationError,
)
from edgekit.core.quantity import Quantity
from edgekit.devices.boards.session import BoardSession
from edgekit.devices.cost_model import CostModel, beside_of, load_cost_model
from edgekit.devices.memory import peak_ram_bytes
from edgekit.devices.precision import Precision
from edgekit.exporters.check import Verification
from edgekit.exporters.exporter import exporter_for, exporter_of
from edgekit.exporters.verify import verify
from edgekit.pipeline.board_verification import run_on_board
from edgekit.pipeline.build_folder import KEPT_OUTPUTS, recipe_of
from edgekit.pipeline.make import Made
from edgekit.pipeline.on_board import INSTRUCTIONS, LATENCY, checked_board
from edgekit.pipeline.plan import BuildPlan
from edgekit.pipeline.result import Figure
from edgekit.pipeline.runtime_choice import Candidate, choose, int8_notes
from edgekit.pipeline.stages import Stages

MIN_INT8_AGREEMENT: Final = 0.9

# What says that a runtime cannot take the network, and no more.
_REFUSALS = (BadInputError, ConversionError, MissingExtraError, UsageError, VerificationError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A candidate with its files. `planned` has its target; `obstacle` is as in `Candidate`, and `board_error`
    what the board made of it."""

    planned: BuildPlan
    made: Made | None = None
    cost_model: CostModel | None = None
    verification: Verification | None = None
    board_figures: tuple[Figure, ...] = ()
    obstacle: str = ""
    board_error: BoardError | UnstableError | None = None

    @property
    def predicted(self) -> Quantity | None:
        """The latency by the cost model, where there is a file."""
        if self.made is None or self.cost_model is None:
            return None
        path = self.made.artifact.path
        return self.cost_model.predict_latency(exporter_of(path).read_graph(path).operators)

    @property
    def row(self) -> Candidate:
        figures = {figure.name: figure.quantity for figure in self.board_figures}
        target = self.planned.target
        return Candidate(
            runtime=target.runtime,
            precision=target.precision,
            verified=self.verification is not None,
            obstacle=self.obstacle,
            size_bytes=None if self.made is None else self.made.artifact.size_bytes,
            latency=figures.get(LATENCY, self.predicted),
            is_calibrated=beside_of(target) is None,
            instructions=figures.get(INSTRUCTIONS),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """The file of a build, verified; `candidates` and `reason` where it was chosen among several."""

    planned: BuildPlan
    made: Made
    cost_model: CostModel
    verification: Verification
    board_figures: tuple[Figure, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()


def only_candidate(planned: BuildPlan, made: Made, cost_model: CostModel, stages: Stages) -> Settled:
    """The file of the planned target, verified here and on the board that the plan names.

    Raises VerificationError, BoardError, UnstableError.
    """
    with stages.stage("verify"):
        one = _verified(Contender(planned=planned, made=made, cost_model=cost_model))
    notes: tuple[str, ...] = ()
    if planned.board is not None:
        with stages.stage("board"), tempfile.TemporaryDirectory(prefix="edgekit-fp32-") as scratch:
            # Its file is worth making where both can be timed.
            rival = None if planned.board.emulated else _in_fp32(one, Path(scratch))
            with checked_board(planned.board) as session:
                one = _on_board(one, session)
                rival = None if rival is None else _on_board_or_not(rival, session)
            notes = int8_notes([one.row, _predicted_in_fp32(one) if rival is None else rival.row])
    return _settled(one, notes=notes)


def best_candidate(planned: BuildPlan, made: Made, folder: Path, scratch: Path, stages: Stages) -> Settled:
    """Of all the plan's candidates the one that evidence speaks for, its files in `folder`; `made` is that of the planned target.

    A runtime that cannot take the network, or lacks what it needs, is a row with its reason. Raises VerificationError where none
    remains, BoardError and UnstableError where the board runs none.
    """
    with stages.stage("runtimes"):
        contenders = []
        for target in planned.candidates:
            stages.tell(f"export {target}")
            mine = Contender(planned=replace(planned, target=target), made=made if target == planned.target else None)
            contenders.append(_tolerant(mine, _exported, made, scratch))
    with stages.stage("verify"):
        contenders = [_tolerant(each, _verified) for each in contenders]
    if planned.board is not None:
        with stages.stage("board"), checked_board(planned.board) as session:
            contenders = [_on_board_or_not(each, session) for each in contenders]
            _raise_where_none_ran(contenders)
    rows = tuple(each.row for each in contenders)
    choice = choose(rows, default_runtime=planned.target.device.default_runtime)
    chosen = contenders[rows.index(choice.chosen)]
    stages.note(choice.reason)
    return _settled(_moved(chosen, folder), candidates=rows, reason=choice.reason, notes=int8_notes(rows))


def _tolerant(one: Contender, step: Callable[..., Contender], *given: object) -> Contender:
    """The step, or the reason why it cannot be made."""
    if one.obstacle:
        return one
    try:
        return step(one, *given)
    except _REFUSALS as error:
        reason = f"{error.message} ({error.hint})" if isinstance(error, MissingExtraError) else error.message
        return replace(one, obstacle=reason, verification=None)


def _exported(one: Contender, made: Made, scratch: Path) -> Contender:
    """With a file, unless there is one, and a cost model; what breaks a limit of the budget cannot be chosen.

    Limits on latency have no say: the network was assembled to keep them, and the fastest file is chosen.
    """
    target = one.planned.target
    cost_model = load_cost_model(target)
    if one.made is None:
        exporter_for(target.runtime).check_installed(target)
        folder = scratch / f"{target.runtime}-{target.precision}"
        folder.mkdir()
        recipe = recipe_of(one.planned, made.pruned)
        provenance = {"target": str(target), "passes": ", ".join(step["id"] for step in recipe["passes"])}
        model = replace(made.model, provenance={**made.model.provenance, **provenance})
        exporter = exporter_for(target.runtime)
        artifact = exporter.export(model, target=target, calibration_N=made.calibration_NHWC, folder=folder)
        made = replace(made, model=model, artifact=artifact)
    size_bytes, operators = made.artifact.size_bytes, made.model.operators
    ram_bytes = peak_ram_bytes(operators, target.precision)
    cost = Cost(latency_ms=0.0, size_bytes=size_bytes, peak_ram_bytes=ram_bytes, macs=0.0)
    broken = made.budget.broken_by(cost)
    obstacle = f"above the limit of {' and '.join(broken)}" if broken else ""
    return replace(one, made=made, cost_model=cost_model, obstacle=obstacle)


def _verified(one: Contender) -> Contender:
    made = _made(one)
    verification = verify(made.model, made.artifact, made.calibration_NHWC, min_agreement=MIN_INT8_AGREEMENT)
    return replace(one, verification=verification)


def _on_board(one: Contender, session: BoardSession) -> Contender:
    """With what the board says."""
    made, verification = _made(one), one.verification
    checks, figures = run_on_board(
        session,
        made.artifact,
        made.calibration_NHWC[:KEPT_OUTPUTS],
        one.predicted,
        are_probabilities=made.model.output_range == (0, 1),
        threads=one.planned.target.threads,
    )
    if verification is not None:
        verification = replace(verification, checks=(*verification.checks, *checks))
    return replace(one, verification=verification, board_figures=figures)


def _on_board_or_not(one: Contender, session: BoardSession) -> Contender:
    """A runtime that the board does not have, and times that cannot be trusted, are reasons too."""
    try:
        return _tolerant(one, _on_board, session)
    except (BoardError, UnstableError) as error:
        return replace(one, obstacle=error.message, board_error=error)


def _raise_where_none_ran(contenders: Sequence[Contender]) -> None:
    errors = [one.board_error for one in contenders if one.board_error is not None]
    if errors and all(one.obstacle for one in contenders):
        raise errors[0]


def _in_fp32(one: Contender, scratch: Path) -> Contender | None:
    """The network of an int8 file in fp32 for the same runtime, where the device has that."""
    target = one.planned.target
    if target.precision is not Precision.INT8 or Precision.FP32 not in target.device.runtime(target.runtime).precisions:
        return None
    fp32 = Contender(planned=replace(one.planned, target=replace(target, precision=Precision.FP32)))
    return _tolerant(_tolerant(fp32, _exported, _made(one), scratch), _verified)


def _predicted_in_fp32(one: Contender) -> Candidate:
    """What is known of it without a file."""
    target = replace(one.planned.target, precision=Precision.FP32)
    try:
        latency = load_cost_model(target).predict_latency(_made(one).model.operators)
    except (UsageError, BadInputError):
        latency = None
    return Candidate(
        runtime=target.runtime, precision=target.precision, verified=False, obstacle="not built", latency=latency
    )


def _moved(one: Contender, folder: Path) -> Contender:
    """With its files in `folder`."""
    artifact = _made(one).artifact
    for path in sorted(artifact.path.parent.iterdir()):
        shutil.move(path, folder / path.name)
    reference = artifact.reference
    there = replace(
        artifact,
        path=folder / artifact.path.name,
        reference=None if reference is None else replace(reference, path=folder / reference.path.name),
    )
    return replace(one, made=replace(_made(one), artifact=there))


def _settled(
    one: Contender, *, candidates: tuple[Candidate, ...] = (), reason: str = "", notes: tuple[str, ...]
) -> Settled:
    if one.cost_model is None or one.verification is None:
        raise AssertionError(one)
    return Settled(
        planned=one.planned,
        made=_made(one),
        cost_model=one.cost_model,
        verification=one.verification,
        board_figures=one.board_figures,
        candidates=candidates,
        reason=reason,
        notes=(*notes, *_late(one)),
    )


def _late(one: Contender) -> Sequence[str]:
    """Whether the board takes longer than the budget allows, which the prediction kept."""
    limit, row = _made(one).budget.latency_ms, one.row
    if isinstance(limit, float) and row.is_measured and row.latency_ms > limit:
        return (f"{row.latency_ms:.4g} ms were measured, above the limit of {limit:.4g} ms that the prediction kept",)
    return ()


def _made(one: Contender) -> Made:
    if one.made is None:
        raise AssertionError(one)
    return one.made
