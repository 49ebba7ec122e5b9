"""What a fleet came to, and its record on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgekit.core.errors import BadInputError
from edgekit.core.quantity import Quantity
from edgekit.core.records import read_json
from edgekit.pipeline.build_cache import REPORT
from edgekit.pipeline.fleet.member import Failure, Member, State
from edgekit.pipeline.result import REPORT_SCHEMA, Figure

FLEET_SCHEMA: Final = 1
RECORD: Final = "fleet.json"
_OF_A_REPORT: Final = ("genotype", "labels", "figures", "cached", "notes", "sha256")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberResult:
    """`folder` is a whole build folder, None where there is none and `failure` says why; `seconds` are those of this run.

    `key` is that of its inputs (`edgekit.pipeline.build_key`), empty where they make no plan; `report` is what the folder's says.
    """

    member: Member
    state: State
    key: str
    seconds: float
    folder: Path | None
    failure: Failure | None
    report: Mapping[str, Any]

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(
            Figure(name=figure["name"], quantity=Quantity.from_json(figure))
            for figure in self.report.get("figures", ())
        )

    def to_json(self) -> dict[str, Any]:
        return {
            **self.member.to_json(),
            "state": self.state.value,
            "key": self.key,
            "seconds": round(self.seconds, 3),
            "folder": None if self.folder is None else self.folder.name,
            **({"failure": self.failure.to_json()} if self.failure else {}),
            **{name: self.report[name] for name in _OF_A_REPORT if name in self.report},
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetResult:
    """All members, in the order of the file; `crew` says who built them, in `seconds` by the wall clock."""

    folder: Path
    members: tuple[MemberResult, ...]
    crew: str
    seconds: float

    @property
    def failed(self) -> tuple[MemberResult, ...]:
        return tuple(member for member in self.members if member.state is State.FAILED)

    def count(self, state: State) -> int:
        return sum(member.state is state for member in self.members)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": FLEET_SCHEMA,
            "folder": str(self.folder),
            "crew": self.crew,
            "seconds": round(self.seconds, 3),
            "counts": {state.value: self.count(state) for state in State},
            "members": [member.to_json() for member in self.members],
        }


def read_report(folder: Path) -> dict[str, Any]:
    """Raises BadInputError."""
    return read_json(folder / REPORT, schema_version=REPORT_SCHEMA)


def keys_of_finished(folder: Path) -> dict[str, str]:
    """By the names of the members that the fleet's record in `folder` tells of; none where there is no record that can be read."""
    try:
        record = read_json(folder / RECORD, schema_version=FLEET_SCHEMA)
        return dict(_finished(record))
    except (BadInputError, KeyError, TypeError):
        return {}


def _finished(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for member in record["members"]:
        if member["folder"] is not None:
            yield str(member["name"]), str(member["key"])
