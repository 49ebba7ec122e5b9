"""What a build will do, decided before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.core.budget import Budget, Share
from edgekit.core.records import sha256_of
from edgekit.devices.target import Target, parse_target
from edgekit.supernet.storage import CARD, SupernetFolder, open_supernet
from edgekit.tasks.grammar import canonical_text, parse_task
from edgekit.tasks.task import Task

PLAN_SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPlan:
    """Inputs of a build, resolved: names turned into a task, a target, and a supernet's folder."""

    model: SupernetFolder
    task: Task
    target: Target
    budget: Budget
    data: Path | None
    seed: int

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": PLAN_SCHEMA,
            "model": self.model.name,
            "model_card_sha256": sha256_of(self.model.path / CARD),
            "task": {
                "text": self.task.text,
                "kind": self.task.kind.value,
                "labels": canonical_text(self.task.indices, self.model.vocabulary),
                "outputs": list(self.task.outputs(self.model.vocabulary)),
            },
            "target": str(self.target),
            "threads": self.target.threads,
            "budget": {
                name: str(limit) if isinstance(limit, Share) else limit
                for name, limit in ((name, getattr(self.budget, name)) for name in asdict(self.budget))
                if limit is not None
            },
            "calibration": str(self.data) if self.data else "the supernet's synthesised pictures",
            "seed": self.seed,
        }


def plan(
    *,
    task: str,
    target: str = "rpi4",
    budget: Budget | None = None,
    model: str | Path = "signs43",
    presence: bool = False,
    other: bool = False,
    data: Path | str | None = None,
    seed: int = 0,
) -> BuildPlan:
    """Raises UsageError for unknown names and contradictions, BadInputError for unreadable files."""
    folder = open_supernet(model)
    return BuildPlan(
        model=folder,
        task=parse_task(task, folder.vocabulary, presence=presence, other=other),
        target=parse_target(target),
        budget=budget or Budget(),
        data=None if data is None else Path(data),
        seed=seed,
    )
