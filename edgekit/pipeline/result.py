"""What a build came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.core.confusion import Confusion
from edgekit.core.quantity import Quantity
from edgekit.devices.target import parse_target
from edgekit.pipeline.examples import LearntHead
from edgekit.pipeline.plan import BuildPlan
from edgekit.pipeline.runtime_choice import Candidate

REPORT_SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One named quantity of a report."""

    name: str
    quantity: Quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """A finished build; `learnt` is the head of own classes. `stages_s` are wall seconds by stage, in order.

    `candidates` are the runtimes that were compared, and `reason` says why that of the plan's target was taken; `notes` are what
    else there is to know. `confusion` is that of the file on labelled pictures, where there were any.
    """

    folder: Path
    plan: BuildPlan
    genotype: str
    labels: tuple[str, ...]
    figures: tuple[Figure, ...]
    learnt: LearntHead | None
    stages_s: Mapping[str, float]
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()
    confusion: Confusion | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any], planned: BuildPlan, folder: Path) -> BuildResult:
        """As `to_json` wrote it, of a build that was planned as `planned` and lies in `folder`."""
        figures = ({**figure} for figure in record["figures"])
        learnt = record.get("own_classes")
        return cls(
            folder=folder,
            plan=replace(planned, target=parse_target(record["plan"]["target"])) if planned.candidates else planned,
            genotype=record["genotype"],
            labels=tuple(record["labels"]),
            figures=tuple(Figure(name=one.pop("name"), quantity=Quantity.from_json(one)) for one in figures),
            learnt=None if learnt is None else LearntHead.from_json(learnt),
            stages_s=record["stages_s"],
            candidates=tuple(map(Candidate.from_json, record.get("candidates", ()))),
            reason=record.get("reason", ""),
            notes=tuple(record.get("notes", ())),
            confusion=Confusion.from_json(record["confusion"]) if "confusion" in record else None,
        )

    def figure(self, name: str) -> Quantity:
        """Raises KeyError for a figure that the report does not have."""
        return {figure.name: figure.quantity for figure in self.figures}[name]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": REPORT_SCHEMA,
            "folder": str(self.folder),
            "plan": self.plan.to_json(),
            "genotype": self.genotype,
            "labels": list(self.labels),
            "figures": [{"name": figure.name, **figure.quantity.to_json()} for figure in self.figures],
            **({"own_classes": self.learnt.to_json()} if self.learnt else {}),
            **({"candidates": self._candidates(), "reason": self.reason} if self.candidates else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"confusion": self.confusion.to_json()} if self.confusion else {}),
            "stages_s": {name: round(seconds, 3) for name, seconds in self.stages_s.items()},
        }

    def _candidates(self) -> list[dict[str, Any]]:
        target = self.plan.target
        chosen = (target.runtime, target.precision)
        return [{**one.to_json(), "chosen": (one.runtime, one.precision) == chosen} for one in self.candidates]
