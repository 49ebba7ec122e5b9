"""One thing that was looked at, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from edgekit.core.errors import ExitCode

_SCHEMA: Final = 1


class State(StrEnum):
    OK = "ok"
    UNTRIED = "not tried"
    """It is there; whether it works was not asked."""
    NOTICE = "notice"
    """It works, and something about it wants attention."""
    ABSENT = "absent"
    BROKEN = "broken"


_WORST_LAST: Final = tuple(State)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """`fix` is the line to run; `required`, whether a plain build needs it; `facts` are what JSON tells beside the sentence."""

    section: str
    name: str
    state: State
    found: str
    fix: str = ""
    required: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fails(self) -> bool:
        return self.required and self.state in (State.ABSENT, State.BROKEN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    findings: tuple[Finding, ...]

    @property
    def failing(self) -> tuple[Finding, ...]:
        """What keeps a plain build from working."""
        return tuple(finding for finding in self.findings if finding.fails)

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.MISSING_EXTRA if self.failing else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": _SCHEMA,
            "plain_build_works": not self.failing,
            "findings": [asdict(finding) for finding in self.findings],
        }


def worst(states: list[State]) -> State:
    return max(states, key=_WORST_LAST.index, default=State.OK)
