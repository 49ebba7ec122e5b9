"""How far a fleet is, on stderr: a line for each member that ends; below them, on a terminal, a table of those at work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from edgekit.cli.console import Console

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.pipeline.fleet.fleet import Progress
    from edgekit.pipeline.fleet.result import MemberResult


@contextmanager
def fleet_progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yields what to call as a member comes to a stage, and as it ends."""
    if console.quiet or not sys.stderr.isatty():
        yield _checked(console, _nothing if console.quiet else _line)
        return
    from rich.console import Console as Rich
    from rich.live import Live

    rich = Rich(stderr=True, markup=False, emoji=False, highlight=False)
    at_work = _AtWork()
    with Live(console=rich, get_renderable=at_work.table, refresh_per_second=4, transient=True):

        def show(progress: Progress) -> None:
            at_work.note(progress)
            if progress.result is not None:
                rich.print(_sentence(progress, progress.result))

        yield _checked(console, show)


class _AtWork:
    """The stages of the members under way, since when."""

    def __init__(self) -> None:
        self._stages: dict[str, tuple[str, float]] = {}
        self._counts = ""

    def note(self, progress: Progress) -> None:
        self._counts = f"{progress.done} of {progress.of}"
        if progress.result is not None:
            self._stages.pop(progress.name, None)
        else:
            _, since = self._stages.get(progress.name, ("", time.monotonic()))
            self._stages[progress.name] = (progress.stage, since)

    def table(self) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(self._counts, "stage", "seconds", box=box.SIMPLE_HEAD, pad_edge=False)
        for name, (stage, since) in list(self._stages.items()):
            table.add_row(name, stage, f"{time.monotonic() - since:.1f}")
        return table


def _checked(console: Console, show: Callable[[Progress], None]) -> Callable[[Progress], None]:
    def checked(progress: Progress) -> None:
        console.interruption.check()
        show(progress)

    return checked


def _nothing(_progress: Progress) -> None:
    """Nobody is to be told."""


def _line(progress: Progress) -> None:
    """Work goes on where nobody reads how far it is."""
    if progress.result is not None:
        with suppress(OSError):
            sys.stderr.write(f"{_sentence(progress, progress.result)}\n")
            sys.stderr.flush()


def _sentence(progress: Progress, result: MemberResult) -> str:
    why = f": {result.failure.message}" if result.failure else ""
    return f"{progress.done}/{progress.of} {progress.name} {progress.stage} {result.seconds:.1f} s{why}"
