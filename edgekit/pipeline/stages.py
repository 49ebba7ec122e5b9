"""The clock and the log of a build."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stages:
    """Times named stages, tells `progress` as each begins, and keeps the lines of the log."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self.log: list[str] = []
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._progress(name)
        started = time.perf_counter()
        yield
        elapsed = time.perf_counter() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        self.log.append(f"{name}: {elapsed:.2f} s")

    def note(self, line: str) -> None:
        self.log.append(line)

    def tell(self, line: str) -> None:
        """Of what goes on within a stage."""
        self._progress(line)
        self.log.append(line)
