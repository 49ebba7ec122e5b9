"""One build of a fleet, as it is asked for and as it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError, EdgekitError, ExitCode


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """`inputs` are arguments of `edgekit.build` beside its budget; `task_name` and `budget_name` are what the fleet calls them."""

    name: str
    task_name: str
    target: str
    budget_name: str
    budget: Budget
    inputs: Mapping[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """Of `edgekit.build` and of `edgekit.pipeline.plan.plan`."""
        return {**self.inputs, "target": self.target, "budget": self.budget}

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "task": self.task_name,
            "target": self.target,
            "budget": self.budget_name,
            "limits": {
                one.name: str(limit) if isinstance(limit, Share) else limit
                for one in fields(self.budget)
                if (limit := getattr(self.budget, one.name)) is not None
            },
            "inputs": dict(self.inputs),
        }


class State(StrEnum):
    """BUILT now; CACHED: taken from the cache; KEPT: it was there already; FAILED."""

    BUILT = "built"
    CACHED = "cached"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a member was not built: an exit code of edgekit, or of the shell for a worker that was killed (128 and its signal).

    `trace` is what a report of a bug needs, empty where the sentence says everything.
    """

    code: int
    message: str
    hint: str = ""
    trace: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        if isinstance(error, OSError):
            error = BadInputError(f"cannot read or write {error.filename or 'a file'}: {error.strerror or error}")
        if isinstance(error, EdgekitError):
            return cls(code=int(error.code), message=error.message, hint=error.hint)
        from traceback import format_exception

        sentence = " ".join(str(error).split()) or "no message"
        return cls(
            code=int(ExitCode.UNEXPECTED),
            message=f"{type(error).__name__}: {sentence}",
            hint="this is a bug of ours: report it with the trace in fleet.json",
            trace="".join(format_exception(error)),
        )

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        return record if self.trace else {name: value for name, value in record.items() if name != "trace"}


def job_of(member: Member, place: Path) -> dict[str, Any]:
    """All that another process needs to build it at `place`, as JSON."""
    return {"arguments": {**member.arguments, "budget": asdict(member.budget)}, "output": str(place)}


def arguments_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """Of `edgekit.build`, from what `job_of` made."""
    limits = {
        name: Share(fraction=limit["fraction"]) if isinstance(limit, Mapping) else limit
        for name, limit in job["arguments"]["budget"].items()
    }
    return {**job["arguments"], "budget": Budget(**limits), "output": job["output"]}
