"""How a model file is measured on a board, and when a measurement is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edgekit.core.errors import UnstableError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.devices.boards.facts import BoardState
from edgekit.devices.device import Protocol

_MOST_SPREAD: Final = 1.25
_MOST_CLOCK_CHANGE: Final = 0.02
# Bits of `vcgencmd get_throttled` that are about now: under-voltage, capped clock, throttled, soft limit of temperature.
_THROTTLED_NOW: Final = 0b1111


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardRun:
    """Runs of one file on a board: times after warming up, or on an emulated one what a run executed."""

    times_ms: tuple[float, ...]
    warm_up_ms: tuple[float, ...]
    settled: bool
    executed: Mapping[str, int]
    before: BoardState
    after: BoardState
    protocol: Protocol
    runtime: str
    sha256: str
    peak_rss_bytes: int

    @classmethod
    def from_json(cls, record: Mapping[str, Any], protocol: Protocol) -> BoardRun:
        """Raises KeyError, TypeError or ValueError for what no run of ours tells."""
        return cls(
            times_ms=tuple(map(float, record["times_ms"])),
            warm_up_ms=tuple(map(float, record["warm_up_ms"])),
            settled=bool(record["settled"]),
            executed={str(kind): int(count) for kind, count in record["executed"].items()},
            before=BoardState.from_json(record["before"]),
            after=BoardState.from_json(record["after"]),
            protocol=protocol,
            runtime=str(record["runtime"]),
            sha256=str(record["sha256"]),
            peak_rss_bytes=int(record["peak_rss_bytes"]),
        )

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.times_ms, percent))

    def latency(self, board: str) -> Quantity:
        """The median, with the interval from the fastest run to that which nine in ten keep to."""
        clocks = self.after.clocks_mhz
        said = [
            f"on {board}",
            self.runtime,
            f"{self.protocol.threads} threads",
            f"{len(self.times_ms)} runs",
            f"p90 {self.percentile_ms(90):.4g} ms",
            *([self._governor()] if self.after.governors else []),
            *([f"{min(clocks):.0f} to {max(clocks):.0f} MHz"] if clocks else []),
            *([f"{self.after.temperature_c:.0f} degrees"] if self.after.temperature_c is not None else []),
        ]
        return Quantity(
            value=self.percentile_ms(50),
            unit="ms",
            evidence=Evidence.MEASURED,
            source=", ".join(said),
            interval=(min(self.times_ms), self.percentile_ms(90)),
        )

    def _governor(self) -> str:
        found, wanted = "/".join(sorted(set(self.after.governors))), self.protocol.governor
        return f"governor {found}" + ("" if found == wanted else f" instead of {wanted}")

    def instructions(self, board: str) -> dict[str, Quantity]:
        """Of one run, by class."""
        source = f"executed on {board}, {self.runtime}, {self.protocol.threads} threads"
        return {
            kind: Quantity(value=count, unit="instructions", evidence=Evidence.EMULATED, source=source)
            for kind, count in self.executed.items()
        }


def check_stable(run: BoardRun, board: str) -> None:
    """Raises UnstableError, with the reason and what to do, for times that cannot be trusted."""
    reasons = list(_reasons(run))
    if reasons:
        said, advice = zip(*reasons, strict=True)
        raise UnstableError(
            f"the measurement on {board} is refused: {'; '.join(said)}", hint="; ".join(dict.fromkeys(advice))
        )


def _reasons(run: BoardRun) -> Iterator[tuple[str, str]]:
    for state, when in ((run.before, "before"), (run.after, "after")):
        if state.throttled is not None and state.throttled & _THROTTLED_NOW:
            yield (
                f"it throttled {when} the runs (get_throttled {state.throttled:#x})",
                "let it cool, and give it a fan and a supply that holds its voltage",
            )
            break
    performance = "set the governor to performance (echo performance | sudo tee /sys/.../scaling_governor)"
    changes = [
        abs(after / before - 1)
        for before, after in zip(run.before.clocks_mhz, run.after.clocks_mhz, strict=False)
        if before and after
    ]
    if set(run.after.governors) == {"performance"} and changes and max(changes) > _MOST_CLOCK_CHANGE:
        yield f"its clock changed by {max(changes):.0%} although it is fixed", "let it cool, or lower its fixed clock"
    if not run.settled:
        yield f"{len(run.warm_up_ms)} runs did not settle", f"end what else runs on it; {performance}"
    spread = run.percentile_ms(90) / run.percentile_ms(50) if run.times_ms else math.inf
    if not spread <= _MOST_SPREAD:
        yield (
            f"one run in ten takes {spread:.2f} times the median or more, at most {_MOST_SPREAD} is trusted",
            f"end what else runs on it; {performance}",
        )
