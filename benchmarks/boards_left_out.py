"""How wrong it is to predict a board from another, in every way that edgekit knows, on boards that were measured.

TFLite and ArmNN by MLPerf Inference (edge, single stream), and ncnn's own benchmark, of which two boards are compared where they
were measured with the same networks: that is, with ncnn of about the same time.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations

from harness import LATENCIES, absent
from ncnn_rows import figures_of, read_settings, setting_of

from edgekit.devices.device import Device, load_device
from edgekit.devices.precision import Precision
from edgekit.devices.relatives import Basis, FigureKey, clock_basis, ratio

Table = Mapping[FigureKey, float]

# Instruction set, and whether it has the dot product (asimddp), which goes with half-precision arithmetic here but for Carmel.
CORES = {
    "cortex-a53": ("armv8-a", False),
    "cortex-a57": ("armv8-a", False),
    "cortex-a72": ("armv8-a", False),
    "cortex-a73": ("armv8-a", False),
    "cortex-a55": ("armv8.2-a", True),
    "cortex-a76": ("armv8.2-a", True),
    "cortex-a78ae": ("armv8.2-a", True),
    "carmel": ("armv8.2-a", False),
}
# Board as ncnn's benchmark begins its name, its cores, their clock, (threads, power mode) on these cores alone.
NCNN = (
    ("AXERA AX630C", "cortex-a53", 1200, ((1, 0), (2, 0))),
    ("Arduino UNO Q", "cortex-a53", 2000, ((1, 0), (4, 0))),
    ("EAIDK 310", "cortex-a53", 1300, ((1, 0), (4, 0))),
    ("NanoPi R2S", "cortex-a53", 1300, ((2, 0), (4, 0))),
    ("Qualcomm MSM8916", "cortex-a53", 1200, ((1, 0), (4, 0))),
    ("RDK X3", "cortex-a53", 1500, ((4, 0),)),
    ("Raspberry Pi 3", "cortex-a53", 1400, ((1, 0), (4, 0))),
    ("Raspberry Pi 4", "cortex-a72", 1800, ((1, 0), (4, 0))),
    ("Rockchip RK3399", "cortex-a72", 1800, ((1, 2), (2, 2))),
    ("OrangePi4 LTS", "cortex-a72", 1800, ((2, 2),)),
    ("NVIDIA Jetson Nano", "cortex-a57", 1430, ((1, 0), (4, 0))),
    ("Qualcomm MSM8994", "cortex-a57", 2000, ((1, 2), (4, 2))),
    ("Khadas VIM3", "cortex-a73", 2200, ((1, 2), (4, 2))),
    ("Kirin 970", "cortex-a73", 2360, ((1, 2), (4, 2))),
    ("Qualcomm MSM8998", "cortex-a73", 2450, ((1, 2), (4, 2))),
    ("Qualcomm SDM660", "cortex-a73", 2200, ((1, 2),)),
    ("OrangePicm4", "cortex-a55", 1800, ((1, 0), (4, 0))),
    ("Rock3A", "cortex-a55", 2000, ((1, 0), (4, 0))),
    ("Station P2", "cortex-a55", 2000, ((1, 0), (2, 0), (4, 0))),
    ("Radxa Zero 3W", "cortex-a55", 1416, ((4, 0),)),
    ("Station-M2", "cortex-a55", 1800, ((1, 0),)),
    ("Rockchip RK3588 (Cortex", "cortex-a76", 2400, ((1, 2), (4, 2))),
    ("Rockchip RK3588 (Quad", "cortex-a76", 2400, ((1, 0), (4, 2))),
    ("OrangePi5,", "cortex-a76", 2400, ((4, 2),)),
    ("OrangePi5 Plus", "cortex-a76", 2400, ((4, 2),)),
    ("NVIDIA Jetson AGX Xavier", "carmel", 2265, ((1, 0), (2, 0), (4, 0))),
    ("NVIDIA Jetson AGX Orin", "cortex-a78ae", 2200, ((1, 0), (2, 0), (4, 0))),
    ("NVIDIA Jetson Orin Nano", "cortex-a78ae", 1500, ((1, 0),)),
)
# Runtime as MLPerf measured it: board, its system in the logs. The Raspberry Pi 4 of round v0.5 ran a 32-bit system.
MLPERF: Mapping[tuple[str, int], Mapping[str, str]] = {
    ("TFLite 2.4.1", 4): {
        "rpi4": "rpi4coral-fan.on-tflite-v2.4.1-ruy",
        "rk3399": "firefly-tflite-v2.4.1-ruy",
        "jetson-xavier-cpu": "xavier-power.0-fan.cool-tflite-v2.4.1-ruy",
    },
    ("ArmNN 21.02", 4): {
        "rpi4": "rpi4coral-fan.on-armnn-v21.02-neon",
        "jetson-xavier-cpu": "xavier-power.0-fan.cool-armnn-v21.02-neon",
    },
    ("TFLite 1.13 or 1.15", 1): {
        "rk3399": "firefly-tflite-v1.15",
        "hikey960": "hikey960-tflite-v1.15",
        "mate10pro": "mate10pro-tflite-v1.13",
    },
    ("ArmNN 19.08", 1): {"rk3399": "firefly-armnn-v19.08-neon", "hikey960": "hikey960-armnn-v19.08-neon"},
}
OTHER_RUNTIME = {
    "TFLite 2.4.1": "ArmNN 21.02",
    "ArmNN 21.02": "TFLite 2.4.1",
    "TFLite 1.13 or 1.15": "ArmNN 19.08",
    "ArmNN 19.08": "TFLite 1.13 or 1.15",
}
# The same boards in ncnn's benchmark, or boards with their cores.
AS_IN_NCNN = {
    "rpi4": "Raspberry Pi 4",
    "rk3399": "Rockchip RK3399",
    "jetson-xavier-cpu": "NVIDIA Jetson AGX Xavier",
    "hikey960": "Kirin 970",
    "mate10pro": "Kirin 970",
}
# Made of depthwise convolutions, as edgekit's networks are.
MOBILE = frozenset(
    {"mobilenet", "mobilenet_v2", "mobilenet_v3", "mnasnet", "proxylessnasnet", "efficientnet_b0", "shufflenet_v2"}
)
LEAST = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """log(predicted / measured) of the networks of `board`, predicted from `other`."""

    basis: Basis
    board: str
    other: str
    runtime: str
    precision: Precision
    log_errors: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One runtime on one board with a number of threads."""

    device: Device
    runtime: str
    threads: int
    table: Table

    def networks(self, precision: Precision) -> dict[str, float]:
        """Milliseconds by network; what ncnn computes in fp16 counts as fp32, which its networks are."""
        formats = {precision.value} | ({"fp16"} if precision is Precision.FP32 else set())
        return {network: ms for (network, number_format, _), ms in self.table.items() if number_format in formats}


def all_left_out() -> list[LeftOut]:
    """Ends the program without the data."""
    ncnn, mlperf = _ncnn(), _mlperf()
    return [
        *_by_clocks(ncnn, same_networks=True),
        *_by_clocks(mlperf, same_networks=False),
        *_by_another_runtime(mlperf, ncnn),
        *_by_other_networks(ncnn),
    ]


def _ncnn() -> list[Measured]:
    settings = read_settings()
    return [
        Measured(
            device=_board(board, mcpu, clock_mhz),
            runtime="ncnn",
            threads=threads,
            table=figures_of(
                setting_of(settings, board, threads, mode), threads, half_precision=CORES[mcpu][0] == "armv8.2-a"
            ),
        )
        for board, mcpu, clock_mhz, settings_of_board in NCNN
        for threads, mode in settings_of_board
    ]


def _mlperf() -> list[Measured]:
    path = LATENCIES / "mlperf_arm.csv.gz"
    if not path.exists():
        absent(f"no {path}")
    of_system: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["width"]:
                network = f"{row['family']} {row['width']} {row['resolution']}"
                of_system[row["system"]][row["precision"]][network] = float(row["p50_ms"])
    mate10pro = replace(load_device("hikey960"), name="mate10pro", clock_mhz=2360)
    return [
        Measured(
            device=mate10pro if board == "mate10pro" else load_device(board),
            runtime=runtime,
            threads=threads,
            table={
                (network, precision, threads): ms
                for precision, latencies in of_system[system].items()
                for network, ms in latencies.items()
            },
        )
        for (runtime, threads), systems in MLPERF.items()
        for board, system in systems.items()
    ]


def _board(name: str, mcpu: str, clock_mhz: int) -> Device:
    isa, has_dot_product = CORES[mcpu]
    return replace(
        load_device("rpi4"),
        name=name,
        mcpu=mcpu,
        clock_mhz=clock_mhz,
        isa=isa,
        isa_features=("asimddp",) if has_dot_product else (),
    )


def _pairs(measured: list[Measured]) -> Iterator[tuple[Measured, Measured, Precision]]:
    """Of one runtime and as many threads; the first is left out, the second known."""
    for one, other in permutations(measured, 2):
        alike = (one.runtime, one.threads) == (other.runtime, other.threads)
        if alike and one.device.name != other.device.name:
            for precision in (Precision.INT8, Precision.FP32):
                if len(one.networks(precision).keys() & other.networks(precision).keys()) >= LEAST:
                    yield one, other, precision


def _left_out(
    basis: Basis, one: Measured, other: Measured, precision: Precision, times: float, judged: set[str]
) -> LeftOut:
    ours, theirs = one.networks(precision), other.networks(precision)
    return LeftOut(
        basis=basis,
        board=one.device.name,
        other=other.device.name,
        runtime=one.runtime,
        precision=precision,
        log_errors=tuple(math.log(times * theirs[network] / ours[network]) for network in sorted(judged)),
    )


def _by_clocks(measured: list[Measured], *, same_networks: bool) -> Iterator[LeftOut]:
    for one, other, precision in _pairs(measured):
        ours, theirs = one.networks(precision).keys(), other.networks(precision).keys()
        if ours == theirs or not same_networks:
            basis = clock_basis(one.device, other.device, precision)
            times = other.device.clock_mhz / one.device.clock_mhz
            yield _left_out(basis, one, other, precision, times, ours & theirs)


def _by_another_runtime(mlperf: list[Measured], ncnn: list[Measured]) -> Iterator[LeftOut]:
    for one, other, precision in _pairs(mlperf):
        for ours, theirs in (
            (_of_other(one, mlperf), _of_other(other, mlperf)),
            (_of_ncnn(one, ncnn), _of_ncnn(other, ncnn)),
        ):
            if ours is None or theirs is None or ours is theirs:
                continue
            found = ratio(ours.table, theirs.table, precision, one.threads)
            if found is None:
                continue
            at_clocks = (ours.device.clock_mhz / one.device.clock_mhz) / (
                theirs.device.clock_mhz / other.device.clock_mhz
            )
            judged = one.networks(precision).keys() & other.networks(precision).keys()
            yield _left_out(Basis.OTHER_RUNTIME, one, other, precision, found[0] * at_clocks, judged)


def _of_other(one: Measured, mlperf: list[Measured]) -> Measured | None:
    wanted = OTHER_RUNTIME[one.runtime], one.device.name
    return next((found for found in mlperf if (found.runtime, found.device.name) == wanted), None)


def _of_ncnn(one: Measured, ncnn: list[Measured]) -> Measured | None:
    wanted = AS_IN_NCNN[one.device.name], one.threads
    return next((found for found in ncnn if (found.device.name, found.threads) == wanted), None)


def _by_other_networks(ncnn: list[Measured]) -> Iterator[LeftOut]:
    """Mobile networks from the others, with as many threads and with others, since who publishes often does not state them."""
    for one, other, precision in _pairs(ncnn):
        for their_threads in (1, 4):
            ours, theirs = (
                next((m for m in ncnn if (m.device.name, m.threads) == (each.device.name, their_threads)), None)
                for each in (one, other)
            )
            if ours is None or theirs is None:
                continue
            of, to = ours.networks(precision), theirs.networks(precision)
            ratios = sorted(of[network] / to[network] for network in of.keys() & to.keys() - MOBILE)
            judged = one.networks(precision).keys() & other.networks(precision).keys() & MOBILE
            if len(ratios) >= LEAST and judged and of.keys() == to.keys():
                yield _left_out(Basis.SAME_RUNTIME, one, other, precision, ratios[len(ratios) // 2], judged)
