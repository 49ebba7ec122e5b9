"""What a hardware test may say of a model on a board."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.devices.boards.facts import BoardFacts
from edgekit.devices.boards.measurement import BoardRun
from edgekit.devices.boards.session import BoardSession
from edgekit.devices.device import Device
from edgekit.pipeline.predict import network_of
from edgekit.pipeline.result import BuildResult

Subject = BuildResult | Path | str
"""A build, its folder, or a model file."""

_TOTAL = "total"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Head against base, in rounds of one run each: times on a real board, instructions on an emulated one."""

    unit: str
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median over rounds."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        return f"{self.ratio:.4f} times the {self.unit} of the base ({min(self.ratios):.4f} to {max(self.ratios):.4f})"


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardUnderTest:
    """A board that this run has for itself. Each method raises BoardError where the board is lost, UnstableError for times that
    cannot be trusted, and each `assert_...` AssertionError with the figures where what it says does not hold."""

    session: BoardSession
    device: Device
    facts: BoardFacts

    @property
    def emulated(self) -> bool:
        return self.session.board.emulated

    def measure(self, subject: Subject, *, threads: int | None = None, runs: int = 50, seconds: float = 20) -> BoardRun:
        """Latencies after warming up, with the device's default number of threads. Skips the test on an emulated board."""
        if self.emulated:
            pytest.skip(f"{self.session.board.name} is emulated: its times are no latencies")
        protocol = replace(self.device.protocol, threads=threads or self.device.protocol.threads, runs=runs)
        return self.session.measure(_file(subject), protocol, seconds=seconds)

    def instructions(self, subject: Subject) -> int:
        """What one run executes on one thread. Skips the test on a real board, which does not count them."""
        if not self.emulated:
            pytest.skip(f"{self.session.board.name} is real: it does not count instructions")
        counted = self.session.count(_file(subject)).instructions(self.session.board.name)
        return int(counted[_TOTAL].value)

    def compare(self, base: Subject, head: Subject, *, rounds: int = 5, threads: int | None = None) -> Comparison:
        """Both in turns, the other one first in every other round: what else changes on the board changes for both."""
        if self.emulated:
            return Comparison(unit="instructions", ratios=(self.instructions(head) / self.instructions(base),))
        ratios = []
        for number in range(rounds):
            order = (base, head) if number % 2 == 0 else (head, base)
            medians = {id(one): self.measure(one, threads=threads, runs=20, seconds=5).timed.median_ms for one in order}
            ratios.append(medians[id(head)] / medians[id(base)])
        return Comparison(unit="latency", ratios=tuple(ratios))

    def assert_latency(self, subject: Subject, *, at_most_ms: float, threads: int | None = None) -> None:
        """The median."""
        latency = self.measure(subject, threads=threads).latency(self.session.board.name)
        assert latency.value <= at_most_ms, f"{latency.value:.4g} ms, at most {at_most_ms:g} ms ({latency.source})"

    def assert_instructions(self, subject: Subject, *, at_most: int) -> None:
        counted = self.instructions(subject)
        assert counted <= at_most, f"{counted:,} instructions, at most {at_most:,}"

    def assert_no_slower(
        self, base: Subject, head: Subject, *, by: float = 0.05, rounds: int = 5, threads: int | None = None
    ) -> None:
        """Head takes at most `1 + by` times what base takes."""
        found = self.compare(base, head, rounds=rounds, threads=threads)
        assert found.ratio <= 1 + by, f"head takes {found}, at most {1 + by:g} times"

    def assert_agreement(self, subject: Subject, x_NHWC: NDArray[np.float32], *, at_least: float = 1.0) -> None:
        """The share of inputs whose likeliest output on the board is that on this machine."""
        from edgekit.exporters.exporter import exporter_of

        file = _file(subject)
        here = exporter_of(file).run(file, x_NHWC).outputs.argmax(axis=-1)
        agreed = float(np.mean(self.outputs(subject, x_NHWC).argmax(axis=-1) == here))
        assert agreed >= at_least, f"{agreed:.2%} of {len(here)} inputs agree, at least {at_least:.2%}"

    def outputs(self, subject: Subject, x_NHWC: NDArray[np.float32]) -> NDArray[np.generic]:
        """[N, ...] in the file's own type and layout, of inputs as the network takes them before they are quantised."""
        from edgekit.exporters.exporter import exporter_of
        from edgekit.exporters.layout import to_torch

        file = _file(subject)
        x_N = x_NHWC if exporter_of(file).channels_last else to_torch(x_NHWC)
        with tempfile.TemporaryDirectory(prefix="edgekit-testing-") as place:
            inputs, outputs = Path(place) / "inputs.npy", Path(place) / "outputs.npy"
            np.save(inputs, x_N.astype(np.float32), allow_pickle=False)
            self.session.outputs(file, inputs, outputs)
            answered: NDArray[np.generic] = np.load(outputs, allow_pickle=False)
            return answered


def assert_size(subject: Subject, *, at_most_bytes: int) -> None:
    """Of the model file; it needs no board."""
    size_bytes = _file(subject).stat().st_size
    assert size_bytes <= at_most_bytes, f"{size_bytes:,} bytes, at most {at_most_bytes:,}"


def _file(subject: Subject) -> Path:
    path, _ = network_of(subject.folder if isinstance(subject, BuildResult) else Path(subject))
    return path
