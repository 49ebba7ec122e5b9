"""Runtimes beside TFLite: on which devices they run, in which precisions, and what TFLite's latency tells of theirs while nobody
has measured them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from edgekit.devices.precision import Precision

REFERENCE: Final = "tflite"
"""The runtime whose latencies stand in for those of the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BesideTflite:
    """Nine of ten networks take `fastest` to `slowest` times as long as TFLite takes on the same board; `reason` says how that is
    known."""

    fastest: float
    slowest: float
    reason: str


BESIDE_TFLITE: Final[Mapping[str, BesideTflite]] = {
    "onnx": BesideTflite(
        fastest=0.82,
        slowest=3.2,
        reason="what another runtime takes: ArmNN 21.02 over TFLite 2.4.1 in MLPerf v1.0, 150 networks",
    ),
    "tvm": BesideTflite(
        fastest=0.82,
        slowest=3.2,
        reason="what another runtime takes: ArmNN 21.02 over TFLite 2.4.1 in MLPerf v1.0; TVM itself was measured on no board",
    ),
}
"""The 5 % and 95 % quantiles of `python benchmarks/runtimes.py`, both runtimes with four threads on rpi4 and Jetson Xavier."""

_FASTEST_HALF, _SLOWEST_HALF = 0.5, 1.25
"""An assumption: at best a vector of twice as many numbers takes half as long, at worst casts at both ends of a small network cost
more than is saved."""

_ARCHITECTURES = ("aarch64-", "x86_64-")
_HALF_RUNTIMES = frozenset({"tvm"})
# FEAT_FP16 of Armv8.2, AVX512-FP16, as /proc/cpuinfo calls them.
_HALF_FEATURES = frozenset({"asimdhp", "avx512_fp16"})


def beside_tflite(runtime: str, precision: Precision) -> BesideTflite | None:
    """Of fp16 beside TFLite's fp32. None for TFLite itself, and a runtime that nothing is known of."""
    beside = BESIDE_TFLITE.get(runtime)
    if beside is None or precision is not Precision.FP16:
        return beside
    return replace(
        beside,
        fastest=beside.fastest * _FASTEST_HALF,
        slowest=beside.slowest * _SLOWEST_HALF,
        reason=f"{beside.reason}; fp16 is assumed to take {_FASTEST_HALF:g} to {_SLOWEST_HALF:g} times as long as fp32",
    )


def portable_runtimes(triple: str, isa_features: Collection[str]) -> Mapping[str, tuple[Precision, ...]]:
    """Those that every 64-bit Linux has, without its device.toml saying so: there are wheels of them for no other board.

    In fp16 only those that compile for it, on processors that have instructions for it.
    """
    if not (triple.startswith(_ARCHITECTURES) and triple.endswith("-linux-gnu")):
        return {}
    plain, has_half = (Precision.INT8, Precision.FP32), has_half_arithmetic(isa_features)
    return {name: (*plain, Precision.FP16) if has_half and name in _HALF_RUNTIMES else plain for name in BESIDE_TFLITE}


def has_half_arithmetic(isa_features: Collection[str]) -> bool:
    """Whether a processor computes on vectors of float16."""
    return not _HALF_FEATURES.isdisjoint(isa_features)
