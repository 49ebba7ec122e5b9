"""The latencies of NAS-Bench-201 on 25 devices, as HELP (arXiv 2106.08630) published them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass

from harness import LATENCIES, absent

from edgekit.devices.nasbench201 import Edge, has_path, parse_cell

_PATH = LATENCIES / "nasbench201.csv.gz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One network, and its latency in ms by device."""

    edges: tuple[Edge, ...]
    latency_ms: Mapping[str, float]


def read_rows() -> tuple[list[Row], int]:
    """All networks with a path from input to output, and the number of the others. Ends the program where there are none."""
    if not _PATH.exists():
        absent(f"no {_PATH}")
    with gzip.open(_PATH, "rt", newline="") as file:
        records = list(csv.DictReader(file))
    devices = [name for name in records[0] if name not in {"idx", "arch"}]
    rows = [
        Row(edges=edges, latency_ms={device: float(record[device]) for device in devices})
        for record in records
        if has_path(edges := parse_cell(record["arch"]))
    ]
    return rows, len(records) - len(rows)
