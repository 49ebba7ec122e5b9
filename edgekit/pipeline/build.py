"""The way of a build: plan, assemble, slice, export, verify, profile, report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.core.budget import Budget
from edgekit.core.records import read_json, whole_folder
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.exporters.exporter import exporter_for
from edgekit.pipeline.account import account_of, front_of, judged
from edgekit.pipeline.build_cache import REPORT, user_cache
from edgekit.pipeline.build_folder import write_build
from edgekit.pipeline.build_key import BuildKeys, is_repeatable
from edgekit.pipeline.calibration_pictures import calibration_pictures
from edgekit.pipeline.figures import figures_of
from edgekit.pipeline.make import make
from edgekit.pipeline.on_board import in_place_of_latency
from edgekit.pipeline.plan import BuildPlan, plan
from edgekit.pipeline.result import REPORT_SCHEMA, BuildResult
from edgekit.pipeline.runtime_candidates import Settled, best_candidate, only_candidate
from edgekit.pipeline.stages import Stages

if TYPE_CHECKING:
    from edgekit.assembler.assembler import Assembler


def build(
    *,
    task: str | None = None,
    examples: Path | str | None = None,
    output: Path | str | None = None,
    target: str = "rpi4",
    budget: Budget | None = None,
    genotype: str | None = None,
    model: str | Path = "signs43",
    presence: bool = False,
    grouped: bool = False,
    other: bool = False,
    data: Path | str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    runtime: str | None = None,
    board: str | None = None,
    tuning_minutes: float | None = None,
    evaluation: Path | str | None = None,
    progress: Callable[[str], None] = lambda _stage: None,
) -> BuildResult:
    """Builds the network of a task, or of own classes, for a target into the folder `output`, whole or not at all.

    `examples` is a folder of pictures for each class, in place of `task`. With `genotype` that network is built, whatever it
    costs. Without `output` the folder lies in the user's cache, by the hash of its inputs (docs/cache.md): what is there is not
    built again, save on a board. `data` is a folder of pictures to calibrate int8 with, in place of the examples or the
    supernet's synthesised ones. `runtime` names that of the target apart; "auto" takes the one that evidence speaks for
    (docs/runtimes.md). On the `board`, one of the target's device, the file is run: its outputs are compared, its latency is
    measured, or its instructions are counted. For a target of TVM, `tuning_minutes` are spent there on finding faster kernels,
    which later builds for the device use too. `evaluation` is a folder of labelled pictures, a folder for each output: the file's
    accuracy is measured on them. `progress` is called with the name of each stage as it starts. Raises
    UsageError, InfeasibleError, ConversionError, VerificationError, BoardError, UnstableError,
    MissingExtraError, and BadInputError, each with its exit code.
    """
    stages = Stages(progress)
    with stages.stage("plan"):
        planned = plan(
            task=task,
            examples=examples,
            target=target,
            budget=budget,
            genotype=genotype,
            model=model,
            presence=presence,
            grouped=grouped,
            other=other,
            data=data,
            seed=seed,
            runtime=runtime,
            board=board,
            tuning_minutes=tuning_minutes,
            evaluation=evaluation,
        )
        cost_model = load_cost_model(planned.target)
        exporter_for(planned.target.runtime).check_installed(planned.target)
    if output is not None:
        return _built(planned, cost_model, Path(output), overwrite, stages)
    cache, key = user_cache(), BuildKeys().key_of(planned)
    place = cache.place(key)
    if is_repeatable(planned) and cache.holds(key):
        return BuildResult.from_json(read_json(place / REPORT, schema_version=REPORT_SCHEMA), planned, place)
    result = _built(planned, cost_model, place, True, stages)
    cache.trim(keep=key)
    return result


def _built(planned: BuildPlan, cost_model: CostModel, place: Path, overwrite: bool, stages: Stages) -> BuildResult:
    with whole_folder(place, overwrite=overwrite, marker=REPORT) as folder:
        with stages.stage("load"):
            from edgekit.assembler.assembler import Assembler

            assembler = Assembler.load(planned.model)
            calibration_NHWC = calibration_pictures(planned)
        settled = _settled(planned, assembler, cost_model, calibration_NHWC, folder, stages)
        made = settled.made
        with stages.stage("profile"):
            of_pictures = judged(settled.planned, made, assembler)
            measured = of_pictures.accuracy if of_pictures else None
            predicted = figures_of(settled.planned, made, settled.cost_model, measured=measured)
            figures = in_place_of_latency(predicted, settled.board_figures) if settled.board_figures else predicted
        with stages.stage("report"):
            account = account_of(
                settled.planned, made, settled.cost_model, assembler, settled.verification, of_pictures
            )
            result = BuildResult(
                folder=place,
                plan=settled.planned,
                genotype=str(made.assembly.genotype),
                labels=made.model.labels,
                figures=figures,
                learnt=made.learnt,
                stages_s=stages.seconds,
                candidates=settled.candidates,
                reason=settled.reason,
                notes=settled.notes,
                confusion=of_pictures.confusion if of_pictures else None,
            )
            front = front_of(settled.planned, made.task, [made], settled.cost_model, assembler)
            write_build(folder, result, made, settled.verification, stages, account, front)
    return result


def _settled(
    planned: BuildPlan,
    assembler: Assembler,
    cost_model: CostModel,
    calibration_NHWC: NDArray[np.float32],
    folder: Path,
    stages: Stages,
) -> Settled:
    """The verified file in `folder`, alone."""
    if not planned.candidates:
        made = make(planned, assembler, cost_model, calibration_NHWC, folder, stages)
        return only_candidate(planned, made, cost_model, stages)
    with tempfile.TemporaryDirectory(prefix="edgekit-runtimes-") as name:
        first = Path(name) / "first"
        first.mkdir()
        made = make(planned, assembler, cost_model, calibration_NHWC, first, stages)
        return best_candidate(planned, made, folder, Path(name), stages)
