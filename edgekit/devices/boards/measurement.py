"""How a model file is measured on a board, and when a measurement is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
class Latencies:
    """Of so many runs: the fastest, the median, and what `high_percent` of a hundred keep to."""

    runs: int
    least_ms: float
    median_ms: float
    high_ms: float
    high_percent: int = 90

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Latencies:
        """Raises ValueError where there are none."""
        if not times_ms:
            raise ValueError("no runs")
        median_ms, high_ms = np.percentile(times_ms, (50, 90))
        return cls(runs=len(times_ms), least_ms=min(times_ms), median_ms=float(median_ms), high_ms=float(high_ms))


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardRun:
    """Runs of one file on a board: their times after so many runs of warming up, or on an emulated one what a run executed.
    `peak_rss_bytes` is None where nobody told."""

    latencies: Latencies | None
    warm_up_runs: int
    settled: bool
    executed: Mapping[str, int]
    before: BoardState
    after: BoardState
    protocol: Protocol
    runtime: str
    sha256: str
    peak_rss_bytes: int | None

    @classmethod
    def from_json(cls, record: Mapping[str, Any], protocol: Protocol) -> BoardRun:
        """Raises KeyError, TypeError or ValueError for what no run of ours tells."""
        return cls(
            latencies=Latencies.of([float(time) for time in record["times_ms"]]) if record["times_ms"] else None,
            warm_up_runs=len(record["warm_up_ms"]),
            settled=bool(record["settled"]),
            executed={str(kind): int(count) for kind, count in record["executed"].items()},
            before=BoardState.from_json(record["before"]),
            after=BoardState.from_json(record["after"]),
            protocol=protocol,
            runtime=str(record["runtime"]),
            sha256=str(record["sha256"]),
            peak_rss_bytes=int(record["peak_rss_bytes"]),
        )

    @property
    def timed(self) -> Latencies:
        """Raises UnstableError where nothing was timed."""
        if self.latencies is None:
            raise UnstableError("no run was timed", hint="measure again")
        return self.latencies

    def latency(self, board: str) -> Quantity:
        """The median, with the interval from the fastest run to what nine in ten keep to, or as many as is known of."""
        clocks, timed = self.after.clocks_mhz, self.timed
        said = [
            f"on {board}",
            self.runtime,
            f"{self.protocol.threads} threads",
            f"{timed.runs} runs",
            f"p{timed.high_percent} {timed.high_ms:.4g} ms",
            *([self._governor()] if self.after.governors else []),
            *([f"{min(clocks):.0f} to {max(clocks):.0f} MHz"] if clocks else []),
            *([f"{self.after.temperature_c:.0f} degrees"] if self.after.temperature_c is not None else []),
        ]
        return Quantity(
            value=timed.median_ms,
            unit="ms",
            evidence=Evidence.MEASURED,
            source=", ".join(said),
            interval=(timed.least_ms, timed.high_ms),
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
                "let it cool, and give it a fan and a stable power supply",
            )
            break
    performance = "set the governor to performance (echo performance | sudo tee /sys/.../scaling_governor)"
    changes = [
        abs(after / before - 1)
        for before, after in zip(run.before.clocks_mhz, run.after.clocks_mhz, strict=False)
        if before and after
    ]
    if set(run.after.governors) == {"performance"} and changes and max(changes) > _MOST_CLOCK_CHANGE:
        yield (
            f"its clock changed by {max(changes):.0%} although its governor fixes it",
            "let it cool, or lower its fixed clock",
        )
    if not run.settled:
        yield (
            f"{run.warm_up_runs} warm-up runs were not enough for steady times",
            f"stop other programs on it; {performance}",
        )
    timed = run.timed
    if timed.high_ms > _MOST_SPREAD * timed.median_ms:
        yield (
            f"one run in {round(100 / (100 - timed.high_percent))} takes {timed.high_ms / timed.median_ms:.2f} times the median or "
            f"more, at most {_MOST_SPREAD} is trusted",
            f"stop other programs on it; {performance}",
        )
