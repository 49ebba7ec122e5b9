"""What a build may cost at most, and how accurate it must be at least."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from edgekit.core.errors import UsageError

_SHARE = re.compile(r"^\s*([0-9.eE+-]+)\s*%\s*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A share (0, 1] of what the full supernet costs, or, as a floor, of what it is predicted to reach on the task."""

    fraction: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fraction) and 0 < self.fraction <= 1):
            raise UsageError(
                f"a share of {self.fraction:.6g} must lie between 0 % and 100 %",
                hint="give a limit such as 25%, or an absolute figure",
            )

    def __str__(self) -> str:
        return f"{self.fraction * 100:g}%"


Limit = float | Share


def parse_limit(text: str, *, name: str) -> Limit:
    """A positive number, or a percentage of the full supernet's cost. Raises UsageError."""
    share = _SHARE.match(text)
    try:
        value = float(share[1] if share else text)
    except ValueError as error:
        raise UsageError(
            f'{name}: "{text}" is not a number',
            hint="give a positive number, or a share of the full supernet such as 25%",
        ) from error
    return Share(fraction=value / 100) if share else value


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one network costs on one target."""

    latency_ms: float
    size_bytes: float
    peak_ram_bytes: float
    macs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Upper limits (None: no limit) and one floor, `min_accuracy` in (0, 1]: then the fastest network that keeps it is wanted."""

    latency_ms: Limit | None = None
    size_bytes: Limit | None = None
    peak_ram_bytes: Limit | None = None
    macs: Limit | None = None
    min_accuracy: Limit | None = None

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if isinstance(value, (int, float)) and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{limit.name} = {value:g} is not a limit", hint="give a positive number")
        if isinstance(self.min_accuracy, (int, float)) and self.min_accuracy > 1:
            raise UsageError(
                f"min_accuracy = {self.min_accuracy:g} is above 1",
                hint="give a fraction such as 0.97, or a share of what the full supernet reaches such as 95%",
            )

    def resolve(self, full: Cost) -> Budget:
        """The same budget with every limit absolute. The floor stays as it is: only a prediction for the task could tell."""
        return Budget(
            **{name: self._absolute(name, full) for name in _LIMITS},
            min_accuracy=self.min_accuracy,
        )

    def _absolute(self, name: str, full: Cost) -> float | None:
        limit: Limit | None = getattr(self, name)
        whole: float = getattr(full, name)
        return limit.fraction * whole if isinstance(limit, Share) else limit

    def broken_by(self, cost: Cost) -> tuple[str, ...]:
        """The limits that this cost does not keep; the budget must be resolved."""
        return tuple(
            name for name in _LIMITS if (limit := getattr(self, name)) is not None and getattr(cost, name) > limit
        )


_LIMITS = tuple(limit.name for limit in fields(Cost))
