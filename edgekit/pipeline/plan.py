"""What a build will do, decided before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import UsageError
from edgekit.core.records import sha256_of
from edgekit.devices.target import Target, parse_target
from edgekit.pipeline.examples import Examples, read_examples
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import CARD, SupernetFolder, open_supernet
from edgekit.tasks.grammar import canonical_text, parse_task
from edgekit.tasks.task import Task

PLAN_SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPlan:
    """Inputs of a build, resolved: names turned into a task or own classes, a target, and a supernet's folder."""

    model: SupernetFolder
    task: Task | Examples
    target: Target
    budget: Budget
    genotype: Genotype | None
    data: Path | None
    seed: int

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": PLAN_SCHEMA,
            "model": self.model.name,
            "model_card_sha256": sha256_of(self.model.path / CARD),
            "task": self.task.to_json() if isinstance(self.task, Examples) else self._vocabulary_task(self.task),
            "target": str(self.target),
            "threads": self.target.threads,
            "budget": {
                name: str(limit) if isinstance(limit, Share) else limit
                for name, limit in ((name, getattr(self.budget, name)) for name in asdict(self.budget))
                if limit is not None
            },
            **({} if self.genotype is None else {"genotype": str(self.genotype)}),
            "calibration": self._calibration,
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
) -> BuildPlan:
    """Raises UsageError for unknown names and contradictions, BadInputError for unreadable files."""
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
            hint="name labels of the supernet with --task, or a folder of your own classes with --examples",
        )
    return BuildPlan(
        model=folder,
        task=asked,
        target=parse_target(target),
        budget=budget,
        genotype=None if genotype is None else _genotype(genotype, budget, folder),
        data=None if data is None else Path(data),
        seed=seed,
    )


def _genotype(text: str, budget: Budget, folder: SupernetFolder) -> Genotype:
    if budget != Budget():
        raise UsageError(
            "a genotype costs what it costs: limits and --min-accuracy have no say", hint="give one or the other"
        )
    genotype = folder.spec.check(Genotype.parse(text))
    sorted_bricks = folder.spec.genotype(folder.spec.genes(genotype))
    if genotype != sorted_bricks:
        raise UsageError(
            f"genotype {genotype} leaves out a brick before an open one, and nothing is predicted for it",
            hint=f'did you mean "{sorted_bricks}"?',
        )
    return genotype


def _check_own_classes(budget: Budget, *, of_labels: bool) -> None:
    if of_labels:
        raise UsageError(
            "--presence, --grouped and --other ask about labels of the supernet, not about own classes",
            hint="give a folder of pictures of what is none of them, as one class more",
        )
    if budget.min_accuracy is not None:
        raise UsageError(
            "--min-accuracy needs a prediction, which there is none of for own classes, and a few pictures cannot tell "
            "networks apart",
            hint="give limits such as --latency-ms; the accuracy of left-out pictures is printed",
        )
