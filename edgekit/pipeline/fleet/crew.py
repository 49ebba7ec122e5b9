"""Who builds the members of a fleet: one interface, whether they do it here or on other machines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgekit.pipeline.fleet.member import Failure, Member
from edgekit.pipeline.plan import BuildPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A member with its plan, to be built at `place`, where nothing lies."""

    member: Member
    planned: BuildPlan
    place: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A job after `seconds` of work: its folder lies at its place, whole, or nothing does and `failure` says why."""

    job: Job
    seconds: float
    failure: Failure | None


Tell = Callable[[str, str], None]
"""Is called with the name of a member and the stage that it has come to."""


class Crew(Protocol):
    """Builds jobs, each by `edgekit.build`, in whatever order is fastest."""

    def describe(self) -> str:
        """Who works, for the record: "2 workers on this machine"."""

    def run(self, jobs: Sequence[Job], tell: Tell) -> Generator[Ended]:
        """Each job once, as it ends. A job that fails, whatever it takes with it, ends as such and stops no other.

        Closed early, it ends all work under way, and leaves neither processes nor half-written folders.
        """
