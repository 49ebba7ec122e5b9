"""Whether two figures may be held against each other, and which is more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from edgekit.core.quantity import Evidence, Quantity
from edgekit.pipeline.comparison.folder import ComparedBuild

_OF_BOARD: Final = {"ms", "instructions", "ratio"}
"""Units of what a board does, whoever says it."""

_PROCESS: Final = "process RAM"
_OF_TASK: Final = (
    "accuracy",
    "top-1 agreement with the original",
    "share of the original's variance reproduced",
    "share that leaves early",
)


class Verdict(StrEnum):
    EQUAL = "equal"
    LESS = "less"
    MORE = "more"
    NOT_RANKED = "not ranked"
    """The intervals overlap."""
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Of a figure from that of the first build, which `verdict` says what to think of, and `reason` why where it is no rank.
    `change` is in the unit of the figure, `percent` None where the first is 0."""

    verdict: Verdict
    reason: str
    change: float
    percent: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "change": self.change if math.isfinite(self.change) else None,
            "percent": self.percent,
        }


def difference(name: str, first: ComparedBuild, other: ComparedBuild) -> Difference:
    """Of the figure `name`, which both have."""
    one, two = first.figures[name], other.figures[name]
    change = two.value - one.value
    percent = 100 * change / abs(one.value) if one.value and math.isfinite(change) else None
    reason, verdict = unlike(name, first, other), Verdict.NOT_COMPARABLE
    if not reason:
        verdict = _ranked(one, two)
        reason = "intervals overlap" if verdict is Verdict.NOT_RANKED else ""
    return Difference(verdict=verdict, reason=reason, change=change, percent=percent)


def _ranked(one: Quantity, two: Quantity) -> Verdict:
    if (one.value, one.interval) == (two.value, two.interval):
        return Verdict.EQUAL
    (low_one, high_one), (low_two, high_two) = (figure.interval or (figure.value,) * 2 for figure in (one, two))
    if one.interval is None and two.interval is None:
        return Verdict.MORE if two.value > one.value else Verdict.LESS
    if high_one < low_two:
        return Verdict.MORE
    return Verdict.LESS if high_two < low_one else Verdict.NOT_RANKED


def unlike(name: str, first: ComparedBuild, other: ComparedBuild) -> str:
    """Why the figures `name` of two builds are not of the same thing; nothing where they are.

    Predictions are comparable for one device and runtime, whose cost model is one; measurements on one device, whatever runs there;
    counted instructions on one device in one precision (docs/runtimes.md). Accuracies are those of the same labels.
    """
    one, two = first.figures[name], other.figures[name]
    if not (math.isfinite(one.value) and math.isfinite(two.value)):
        return "not a number"
    if one.unit != two.unit:
        return f"{two.unit} against {one.unit}"
    if one.evidence is not two.evidence:
        return f"{two.evidence} against {one.evidence}"
    base = name.partition(", ")[0] if one.unit != "instructions" else name
    if one.unit in _OF_BOARD or base == _PROCESS:
        return _unlike_boards(one.evidence, first, other)
    if base in _OF_TASK and sorted(first.labels) != sorted(other.labels):
        return "other labels"
    return ""


def _unlike_boards(evidence: Evidence, first: ComparedBuild, other: ComparedBuild) -> str:
    one, two = first.parts, other.parts
    pairs = [(two.device, one.device), (f"{other.threads} threads", f"{first.threads} threads")]
    if evidence is Evidence.PREDICTED:
        pairs.append((str(two.runtime), str(one.runtime)))
    if evidence is Evidence.EMULATED:
        pairs.append((str(two.precision), str(one.precision)))
    return next((f"{mine} against {yours}" for mine, yours in pairs if mine != yours), "")
