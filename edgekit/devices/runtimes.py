"""Runtimes beside TFLite: on which devices they run, and what TFLite's latency tells of theirs while nobody has measured them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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
        reason="what another runtime takes: ArmNN 21.02 over TFLite 2.4.1 in MLPerf v1.0; of TVM itself nothing was measured",
    ),
}
"""The 5 % and 95 % quantiles of `python benchmarks/runtimes.py`, both runtimes with four threads on rpi4 and Jetson Xavier."""

_ARCHITECTURES = ("aarch64-", "x86_64-")


def portable_runtimes(triple: str) -> tuple[str, ...]:
    """Those that every 64-bit Linux has, without its device.toml saying so: there are wheels of them for no other board."""
    return tuple(BESIDE_TFLITE) if triple.startswith(_ARCHITECTURES) and triple.endswith("-linux-gnu") else ()
