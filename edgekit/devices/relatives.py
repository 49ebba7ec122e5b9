"""What predicts the latency of a runtime on a device where nobody measured it: the nearest device where somebody did.

How fast a device is beside another is told, best first, by figures of the same runtime for other networks, by the clocks of
cores that are the same or of one family, by figures of another runtime, or by clocks of cores that have little in common. How
wrong that is was measured by leaving out boards that have figures: `python benchmarks/relatives.py`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Final

from edgekit.core.errors import BadInputError, UsageError
from edgekit.devices.device import Device, Figures
from edgekit.devices.precision import Precision

_LEAST_NETWORKS = 5
# Arm's Technical Reference Manuals: all other Cortex-A cores of 64 bits here execute out of order.
_IN_ORDER = frozenset({"cortex-a53", "cortex-a55"})

FigureKey = tuple[str, str, int]
"""Network, number format (of ncnn also fp16, in which it computes where it can), threads."""


class Basis(StrEnum):
    """What tells how fast a device is beside its relative."""

    SAME_RUNTIME = "other networks by the same runtime"
    SAME_CORES = "clocks of the same cores"
    SAME_FAMILY = "clocks of cores of one family"
    OTHER_RUNTIME = "another runtime"
    OTHER_CORES = "clocks of other cores"


SPREAD: Final[Mapping[Basis, float]] = {
    Basis.SAME_RUNTIME: 1.8,
    Basis.SAME_CORES: 1.9,
    Basis.SAME_FAMILY: 2.3,
    Basis.OTHER_RUNTIME: 3.3,
    Basis.OTHER_CORES: 5.7,
}
"""How many times too high or too low nine of ten predictions were at most, measured by benchmarks/relatives.py and rounded up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relative:
    """`device` takes 1 / `times` as long as the device asked for; `reason` says where `times` comes from."""

    device: Device
    times: float
    basis: Basis
    reason: str

    @property
    def spread(self) -> float:
        """How many times too high or too low it may be."""
        return SPREAD[self.basis]


def nearest_relative(
    device: Device, runtime: str, precision: Precision, threads: int, *, among: Iterable[Device]
) -> Relative:
    """Of the devices with figures of this runtime, in this precision and with as many threads, the one whose basis is wrong the
    least; of several, one that has as many big cores for its threads, then the one with the nearest clock.

    Raises UsageError where no device with figures executes the same instructions.
    """
    found = [
        _relative(device, other, runtime, precision, threads)
        for other in among
        if other.name != device.name
        and _architecture(other) == _architecture(device)
        and any(
            one.name == runtime and one.has_figures and precision in one.precisions and one.threads == threads
            for one in other.runtimes
        )
    ]
    if not found:
        raise UsageError(
            f"nothing predicts {runtime} on {device.name}: it has no measurements, and no board with {_architecture(device)} "
            f"instructions has any in {precision} with threads = {threads}",
            hint="write files with edgekit devices probes --like rpi4, measure them, and give them to "
            f"edgekit devices calibrate NAME --like {device.name}",
        )
    return min(found, key=lambda relative: _distance(relative, device, threads))


def read_figures(folder: Path, figures: Figures) -> dict[FigureKey, float]:
    """Milliseconds. Raises BadInputError."""
    path = folder / figures.table
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                (row["network"], row["precision"], int(row["threads"]), float(row["ms"]))
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{path} is not a table of figures: {error}", hint="columns: network, precision, threads, ms"
        ) from error
    if not all(math.isfinite(ms) and ms > 0 for *_, ms in rows):
        raise BadInputError(f"{path} holds a latency that is not positive", hint="remove that network")
    return {(network, precision, threads): ms for network, precision, threads, ms in rows}


def ratio(
    of: Mapping[FigureKey, float], to: Mapping[FigureKey, float], precision: Precision, threads: int
) -> tuple[float, int] | None:
    """Median ratio over the networks that both hold, and their number; None for fewer than five.

    Threads that nobody stated count as any.
    """
    ratios = [ms / to[key] for key, ms in of.items() if key in to and key[1] == precision and key[2] in {threads, 0}]
    return (median(ratios), len(ratios)) if len(ratios) >= _LEAST_NETWORKS else None


def clock_basis(device: Device, other: Device, precision: Precision) -> Basis:
    """Cores of one family have the same instructions for this precision, and both execute in order, or neither does."""
    if device.mcpu == other.mcpu:
        return Basis.SAME_CORES
    return Basis.SAME_FAMILY if _family(device, precision) == _family(other, precision) else Basis.OTHER_CORES


def _family(device: Device, precision: Precision) -> tuple[str, bool, bool]:
    has_dot_product = precision is Precision.INT8 and "asimddp" in device.isa_features
    return device.isa, device.mcpu in _IN_ORDER, has_dot_product


def _relative(device: Device, other: Device, runtime: str, precision: Precision, threads: int) -> Relative:
    ways = [_by_clock(device, other, precision), *_by_figures(device, other, runtime, precision, threads)]
    return min(ways, key=lambda relative: SPREAD[relative.basis])


def _by_clock(device: Device, other: Device, precision: Precision) -> Relative:
    basis = clock_basis(device, other, precision)
    cores = {
        Basis.SAME_CORES: "the same cores",
        Basis.SAME_FAMILY: "cores of the same family",
        Basis.OTHER_CORES: "other cores",
    }[basis]
    return Relative(
        device=other,
        times=other.clock_mhz / device.clock_mhz,
        basis=basis,
        reason=f"{cores}, {other.clock_mhz} over {device.clock_mhz} MHz",
    )


def _by_figures(device: Device, other: Device, runtime: str, precision: Precision, threads: int) -> Iterable[Relative]:
    theirs = {figures.name: figures for figures in other.figures}
    for figures in device.figures:
        if figures.name not in theirs:
            continue
        its = theirs[figures.name]
        found = ratio(read_figures(device.folder, figures), read_figures(other.folder, its), precision, threads)
        if found is None:
            continue
        times, networks = found
        at_other_clocks = (figures.clock_mhz / device.clock_mhz) / (its.clock_mhz / other.clock_mhz)
        clocks = "" if at_other_clocks == 1 else ", corrected to the clocks"
        yield Relative(
            device=other,
            times=times * at_other_clocks,
            basis=Basis.SAME_RUNTIME if figures.runtime == runtime else Basis.OTHER_RUNTIME,
            reason=f"median of {networks} networks by {figures.runtime} on {figures.board} and {its.board}{clocks}",
        )


def _distance(relative: Relative, device: Device, threads: int) -> tuple[float, int, float, str]:
    other = relative.device
    big_cores_apart = abs(min(device.big_cores, threads) - min(other.big_cores, threads))
    clocks_apart = abs(math.log(other.clock_mhz / device.clock_mhz))
    return SPREAD[relative.basis], big_cores_apart, clocks_apart, other.name


def _architecture(device: Device) -> str:
    """`armv8` of `armv8.2-a`."""
    return device.isa.partition("-")[0].partition(".")[0]
