"""What a build will do, decided before anything heavy is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import UsageError
from edgekit.core.names import did_you_mean
from edgekit.core.records import sha256_of
from edgekit.devices.boards.board import Board, load_board, load_board_of
from edgekit.devices.device import load_device
from edgekit.devices.target import Target, parse_target, split_target
from edgekit.exporters.exporter import EXPORTERS
from edgekit.pipeline.examples import Examples, read_examples
from edgekit.pipeline.labelled_pictures import LabelledPictures, read_labelled
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import CARD, SupernetFolder, open_supernet
from edgekit.tasks.grammar import canonical_text, parse_task
from edgekit.tasks.task import Task

PLAN_SCHEMA = 1
AUTO = "auto"
TUNABLE: Final = "tvm"
HOST: Final = "host"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """Kernels are tried on the board for so many minutes."""

    minutes: float
    board: Board

    def to_json(self) -> dict[str, Any]:
        return {"minutes": self.minutes, "board": self.board.name}


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPlan:
    """Inputs of a build, resolved: names turned into a task or own classes, a target, and a supernet's folder.

    With `candidates` the runtime is chosen among these; the network is assembled for `target`. The file is run on the `board`.
    """

    model: SupernetFolder
    task: Task | Examples
    target: Target
    budget: Budget
    genotype: Genotype | None
    data: Path | None
    seed: int
    candidates: tuple[Target, ...] = ()
    board: Board | None = None
    tuning: Tuning | None = None
    evaluation: LabelledPictures | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": PLAN_SCHEMA,
            "model": self.model.name,
            "model_card_sha256": sha256_of(self.model.path / CARD),
            "task": self.task.to_json() if isinstance(self.task, Examples) else self._vocabulary_task(self.task),
            "target": str(self.target),
            "threads": self.target.threads,
            **({"candidates": [str(target) for target in self.candidates]} if self.candidates else {}),
            **({"board": self.board.name} if self.board else {}),
            **({"tuning": self.tuning.to_json()} if self.tuning else {}),
            "budget": {
                name: str(limit) if isinstance(limit, Share) else limit
                for name, limit in ((name, getattr(self.budget, name)) for name in asdict(self.budget))
                if limit is not None
            },
            **({} if self.genotype is None else {"genotype": str(self.genotype)}),
            "calibration": self._calibration,
            **({"evaluation": self.evaluation.to_json()} if self.evaluation else {}),
            "seed": self.seed,
        }

    def _vocabulary_task(self, task: Task) -> dict[str, Any]:
        return {
            "text": task.text,
            "kind": task.kind.value,
            "labels": canonical_text(task.indices, self.model.vocabulary),
            "outputs": list(task.outputs(self.model.vocabulary)),
        }

    @property
    def _calibration(self) -> str:
        if self.data:
            return str(self.data)
        return "the examples" if isinstance(self.task, Examples) else "the supernet's synthesised pictures"


def plan(
    *,
    task: str | None = None,
    examples: Path | str | None = None,
    target: str = "rpi4",
    budget: Budget | None = None,
    genotype: str | None = None,
    model: str | Path = "signs43",
    presence: bool = False,
    grouped: bool = False,
    other: bool = False,
    data: Path | str | None = None,
    seed: int = 0,
    runtime: str | None = None,
    board: str | None = None,
    tuning_minutes: float | None = None,
    evaluation: Path | str | None = None,
) -> BuildPlan:
    """Raises UsageError for unknown names and contradictions, BadInputError for unreadable files."""
    resolved, candidates = with_runtime(target, runtime)
    folder = open_supernet(model)
    budget = budget or Budget()
    asked: Task | Examples
    if examples is None and task is not None:
        asked = parse_task(task, folder.vocabulary, presence=presence, grouped=grouped, other=other)
    elif examples is not None and task is None:
        _check_own_classes(budget, of_labels=presence or grouped or other)
        asked = read_examples(Path(examples), size=folder.spec.image_size, most_classes=len(folder.vocabulary))
    else:
        raise UsageError(
            f"a build needs one of --task and --examples, {'neither' if task is None else 'both'} is given",
            hint="give labels of the supernet with --task, or a folder of your own classes with --examples",
        )
    outputs = asked.classes if isinstance(asked, Examples) else asked.outputs(folder.vocabulary)
    return BuildPlan(
        model=folder,
        task=asked,
        target=resolved,
        budget=budget,
        genotype=None if genotype is None else _genotype(genotype, budget, folder),
        data=None if data is None else Path(data),
        seed=seed,
        candidates=candidates,
        board=None if board is None else load_board_of(board, resolved.device),
        tuning=None if tuning_minutes is None else _tuning(tuning_minutes, board, resolved, chosen=bool(candidates)),
        evaluation=None if evaluation is None else read_labelled(Path(evaluation), outputs),
    )


def _tuning(minutes: float, board: str | None, target: Target, *, chosen: bool) -> Tuning:
    """Raises UsageError where the target has no kernels to tune, or there is no board to time them on."""
    device = target.device.name
    if chosen or target.runtime != TUNABLE:
        raise UsageError(
            f"{'several runtimes' if chosen else target.runtime} cannot be tuned: only {TUNABLE} compiles kernels",
            hint=f"build for --target {device}:{TUNABLE}",
        )
    if not (math.isfinite(minutes) and minutes > 0):
        raise UsageError(f"{minutes:g} minutes is not a time to tune in", hint="give a positive number")
    if board is None and device != HOST:
        raise UsageError(
            f"tuning kernels for {device} needs a board",
            hint="add --board BOARD: a real one, or an emulated one whose instructions are counted",
        )
    return Tuning(minutes=minutes, board=load_board("local") if board is None else load_board_of(board, target.device))


def with_runtime(target: str, runtime: str | None) -> tuple[Target, tuple[Target, ...]]:
    """The target with a runtime that is named apart; with `auto` that of the device, and all among which one is to be chosen:
    runtimes that it has and edgekit exports to, in every precision or the one that is named.

    Raises UsageError for names that are unknown or contradict each other.
    """
    name = split_target(target)
    if runtime is None:
        return parse_target(target), ()
    if name.runtime is not None and name.runtime != runtime:
        raise UsageError(
            f"--target {target} names the runtime {name.runtime}, and --runtime {runtime}",
            hint=f"leave it out of the target: --target {replace(name, runtime=None)}",
        )
    device = load_device(name.device)
    names = [one.name for one in device.runtimes]
    if runtime not in (*names, AUTO):
        raise UsageError(f'no runtime "{runtime}" on {device.name}', hint=did_you_mean(runtime, (*names, AUTO)))
    if runtime != AUTO:
        return parse_target(str(replace(name, runtime=runtime))), ()
    resolved = parse_target(target)
    known = {exporter.runtime for exporter in EXPORTERS}
    candidates = tuple(
        replace(resolved, runtime=one.name, precision=precision)
        for one in resolved.device.runtimes
        for precision in one.precisions
        if one.name in known and (name.precision is None or precision is resolved.precision)
    )
    return resolved, candidates


def _genotype(text: str, budget: Budget, folder: SupernetFolder) -> Genotype:
    if budget != Budget():
        raise UsageError(
            "--genotype fixes the network, so limits and --min-accuracy have no effect",
            hint="give either --genotype or limits",
        )
    genotype = folder.spec.check(Genotype.parse(text))
    sorted_bricks = folder.spec.genotype(folder.spec.genes(genotype))
    if genotype != sorted_bricks:
        raise UsageError(
            f"genotype {genotype} leaves out a brick before an open one, so nothing can be predicted for it",
            hint=f'did you mean "{sorted_bricks}"?',
        )
    return genotype


def _check_own_classes(budget: Budget, *, of_labels: bool) -> None:
    if of_labels:
        raise UsageError(
            "--presence, --grouped and --other are for labels of the supernet, not for own classes",
            hint="add a class: a folder with pictures of other things",
        )
    if budget.min_accuracy is not None:
        raise UsageError(
            "--min-accuracy needs a predicted accuracy, and own classes have none: a few pictures cannot tell networks apart",
            hint="give limits such as --latency-ms; the accuracy of left-out pictures is printed",
        )
