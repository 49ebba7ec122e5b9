"""What a verification consists of: figures against limits, and their record."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekit.devices.precision import Precision

Relation = Literal["<=", ">=", "=="]

_RELATIONS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One figure against its limit; it passes where `value relation limit` holds."""

    name: str
    value: float
    relation: Relation
    limit: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        return bool(_RELATIONS[self.relation](self.value, self.limit))

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name} is {self.value:.10g}, must be {self.relation} {self.limit:.10g}{detail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """All checks of one file, passed, over so many `inputs`; `notes` are sentences about what is no fault but has a price."""

    sha256: str
    precision: Precision
    inputs: int
    checks: tuple[Check, ...]
    census: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "sha256": self.sha256,
            "precision": self.precision.value,
            "inputs": self.inputs,
            "checks": [asdict(check) for check in self.checks],
            "census": dict(sorted(self.census.items())),
            "notes": list(self.notes),
        }


def none_of(what: str, found: Mapping[str, object] | list[str]) -> Check:
    """That there is nothing of a kind; names up to five of it."""
    return Check(name=what, value=len(found), relation="==", limit=0, detail=", ".join(sorted(found)[:5]))
