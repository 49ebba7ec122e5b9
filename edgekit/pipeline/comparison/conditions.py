"""Conditions that end a comparison: `latency>+5%`, `size>+1000`, `accuracy<-0.5%`, or without a sign `latency>5`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from edgekit.core.errors import UsageError

_GRAMMAR: Final = re.compile(
    r"\s*(?P<figure>[^<>\s](?:[^<>]*[^<>\s])?)\s*(?P<side>[<>])\s*(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<percent>%?)\s*"
)
_HINT = 'write "latency>+5%" (more than 5 % above the first), "size>+1000" (in its unit), or "latency>5" (whatever the first has)'


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Holds where a figure lies above (or below) `number`: of its own where `is_change` is false, else of its change from the
    first build, as a share of the first's where `is_share`."""

    text: str
    figure: str
    above: bool
    number: Fraction
    is_change: bool
    is_share: bool

    def limit(self, first: float) -> Fraction:
        """What the figure may at most (or must at least) be, where the first build has `first`; numbers are taken as they are
        printed, so that 1.05 is no more than 5 % above 1."""
        if not self.is_change:
            return self.number
        base = exact(first)
        return base + self.number * (abs(base) / 100 if self.is_share else 1)

    def holds(self, value: float, first: float) -> bool:
        beyond = exact(value) - self.limit(first)
        return beyond > 0 if self.above else beyond < 0


def exact(value: float) -> Fraction:
    """The shortest decimal that stands for a number."""
    return Fraction(repr(value))


def parse_condition(text: str) -> Condition:
    """Raises UsageError for what is no condition."""
    found = _GRAMMAR.fullmatch(text)
    if not found:
        raise UsageError(f'"{text}" is no condition', hint=_HINT)
    sign, percent = found["sign"], found["percent"]
    if percent and not sign:
        figure_and_side = f"{found['figure']}{found['side']}"
        raise UsageError(
            f'"{text}" does not say which way the share goes',
            hint=f'write "{figure_and_side}+{found["number"]}%" or "{figure_and_side}-{found["number"]}%"',
        )
    return Condition(
        text=text.strip(),
        figure=found["figure"],
        above=found["side"] == ">",
        number=Fraction(f"{sign}{found['number']}"),
        is_change=bool(sign),
        is_share=bool(percent),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A condition put to a build; `first` and `limit` are in the unit of the figure, `first` None where the condition is not of a
    change."""

    condition: Condition
    folder: str
    holds: bool
    value: float
    first_folder: str
    first: float | None
    limit: float
    unit: str
    remark: str

    def to_json(self) -> dict[str, Any]:
        return {
            "condition": self.condition.text,
            "folder": self.folder,
            "holds": self.holds,
            "value": self.value,
            "first_folder": self.first_folder,
            "first": self.first,
            "limit": self.limit,
            "unit": self.unit,
            "remark": self.remark,
        }
