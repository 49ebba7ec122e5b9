"""A number that knows where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Evidence(StrEnum):
    MEASURED = "measured"
    EMULATED = "emulated"
    PREDICTED = "predicted"
    PUBLISHED = "published"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """A figure that reaches a user.

    `source` names the board, file, model or publication behind the value; `interval` is (low, high) in the same unit.
    Raises ValueError for an emulated time (an emulator's clock is never a latency), for a prediction of a time without
    an interval, and for an interval that does not hold its value.
    """

    value: float
    unit: str
    evidence: Evidence
    source: str
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        is_time = self.unit in {"s", "ms", "us"}
        if self.evidence is Evidence.EMULATED and is_time:
            raise ValueError("an emulated time is not a latency: report executed instructions")
        if self.evidence is Evidence.PREDICTED and is_time and self.interval is None:
            raise ValueError("a predicted latency needs an interval")
        if self.interval is not None and not self.interval[0] <= self.value <= self.interval[1]:
            raise ValueError(f"{self.value} {self.unit} lies outside its interval {self.interval}")

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Quantity:
        interval = record["interval"]
        return cls(
            value=record["value"],
            unit=record["unit"],
            evidence=Evidence(record["evidence"]),
            source=record["source"],
            interval=None if interval is None else (interval[0], interval[1]),
        )

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        record["evidence"] = self.evidence.value
        record["interval"] = list(self.interval) if self.interval else None
        return record
