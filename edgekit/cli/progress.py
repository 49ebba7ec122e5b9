"""How far a command is, on stderr: moving on a terminal, else in plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

from edgekit.cli.console import Console

LINE_EVERY_S = 10.0

Report = Callable[[str, int, int, dict[str, float]], None]


@contextmanager
def stages(console: Console) -> Iterator[Callable[[str], None]]:
    """Yields what to call with the name of each stage as it starts: a line a stage, with its seconds."""
    with _Silence() if console.quiet else _Spinner() if sys.stderr.isatty() else _Lines() as shown:

        def start(stage: str) -> None:
            console.interruption.check()
            shown.start(stage)

        yield start


class _Silence:
    def __enter__(self) -> _Silence:
        return self

    def start(self, stage: str) -> None:
        """Nothing to show."""

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


class _Lines:
    """The name as a stage starts, its seconds as it ends."""

    def __init__(self) -> None:
        self._running = False
        self._started = 0.0

    def __enter__(self) -> _Lines:
        return self

    def start(self, stage: str) -> None:
        self.end()
        _write(stage)
        self._running, self._started = True, time.monotonic()

    def end(self) -> None:
        if self._running:
            _write(f" {time.monotonic() - self._started:.1f} s\n")
            self._running = False

    def __exit__(self, *_: object) -> None:
        self.end()


class _Spinner:
    """A moving sign beside the running stage; a line for each that has ended."""

    def __init__(self) -> None:
        from rich.console import Console as Rich

        self._status = Rich(stderr=True, markup=False, highlight=False).status("")
        self._stage = ""
        self._started = 0.0

    def __enter__(self) -> _Spinner:
        self._status.start()
        return self

    def start(self, stage: str) -> None:
        self.end()
        self._stage, self._started = stage, time.monotonic()
        self._status.update(stage)

    def end(self) -> None:
        if self._stage:
            self._status.console.print(f"{self._stage} {time.monotonic() - self._started:.1f} s")
            self._stage = ""

    def __exit__(self, *_: object) -> None:
        self.end()
        self._status.stop()


@contextmanager
def steps(console: Console) -> Iterator[Report]:
    """Yields what to call with (stage, steps done, steps in all, figures) during work of minutes or hours."""
    with _bars() if sys.stderr.isatty() and not console.quiet else nullcontext(_SparseLines().report) as show:

        def report(stage: str, done: int, of: int, figures: dict[str, float]) -> None:
            console.interruption.check()
            if not console.quiet:
                show(stage, done, of, figures)

        yield report


class _SparseLines:
    """A line of each stage at most every LINE_EVERY_S, and one at its end."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def report(self, stage: str, done: int, of: int, figures: dict[str, float]) -> None:
        if done < of and time.monotonic() - self._last.get(stage, -LINE_EVERY_S) < LINE_EVERY_S:
            return
        self._last[stage] = time.monotonic()
        _write(f"{stage} {done}/{of} {_listed(figures)}".rstrip() + "\n")


@contextmanager
def _bars() -> Iterator[Report]:
    from rich.console import Console as Rich
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=Rich(stderr=True)) as progress:
        bars: dict[str, TaskID] = {}

        def report(stage: str, done: int, of: int, figures: dict[str, float]) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=of, figures="")
            progress.update(bars[stage], completed=done, figures=_listed(figures))

        yield report


def _write(text: str) -> None:
    """Work goes on where nobody reads how far it is."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _listed(figures: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in figures.items())
