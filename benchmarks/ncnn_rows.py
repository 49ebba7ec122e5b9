"""The latencies of ncnn's own benchmark on boards and phones (Tencent/ncnn @a4d2ea1, BSD-3)."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict

from harness import LATENCIES, absent

from edgekit.devices.relatives import FigureKey

_PATH = LATENCIES / "ncnn_bench.csv.gz"
_INT8 = "_int8"

Setting = tuple[str, int, int]
"""Board, threads, power mode: 0 all cores, 1 LITTLE cores alone, 2 big cores alone."""


def read_settings() -> dict[Setting, dict[str, float]]:
    """Least milliseconds on the CPU by network; of a board that was listed twice, the first. Ends the program without the data."""
    if not _PATH.exists():
        absent(f"no {_PATH}")
    found: dict[Setting, dict[str, float]] = defaultdict(dict)
    with gzip.open(_PATH, "rt", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["gpu_device"] == "-1" and float(row["min_ms"]) > 0:
                setting = row["board"], int(row["num_threads"]), int(row["powersave"])
                found[setting].setdefault(row["model"], float(row["min_ms"]))
    return found


def setting_of(settings: dict[Setting, dict[str, float]], board: str, threads: int, mode: int) -> dict[str, float]:
    """Of the first board whose name begins so."""
    return next(
        latencies
        for (name, its_threads, its_mode), latencies in settings.items()
        if name.startswith(board) and (its_threads, its_mode) == (threads, mode)
    )


def figures_of(latencies: dict[str, float], threads: int, *, half_precision: bool) -> dict[FigureKey, float]:
    """ncnn computes fp32 networks in fp16 where the cores have half-precision arithmetic (asimdhp)."""
    floats = "fp16" if half_precision else "fp32"
    return {
        (name.removesuffix(_INT8), "int8" if name.endswith(_INT8) else floats, threads): ms
        for name, ms in latencies.items()
    }
