"""The latencies of NAS-Bench-201 on 25 devices, as HELP (arXiv 2106.08630) published them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass

from harness import LATENCIES, absent

from edgekit.devices.calibration import Measurement
from edgekit.devices.cost_model import total_work
from edgekit.devices.nasbench201 import Edge, executed, has_path, operators_of, parse_cell
from edgekit.devices.precision import Precision

_PATH = LATENCIES / "nasbench201.csv.gz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One network, and its latency in ms by device."""

    architecture: str
    edges: tuple[Edge, ...]
    latency_ms: Mapping[str, float]

    def measurement(self, device: str) -> Measurement:
        """In fp32, of the operators that the runtime executes."""
        return Measurement(
            network=self.architecture,
            groups=(),
            precision=Precision.FP32,
            latency_ms=self.latency_ms[device],
            work=total_work(operators_of(executed(self.edges)), Precision.FP32),
        )


def read_rows() -> tuple[list[Row], int]:
    """All networks with a path from input to output, and the number of the others. Ends the program where there are none."""
    if not _PATH.exists():
        absent(f"no {_PATH}")
    with gzip.open(_PATH, "rt", newline="") as file:
        records = list(csv.DictReader(file))
    devices = [name for name in records[0] if name not in {"idx", "arch"}]
    rows = [
        Row(architecture=record["arch"], edges=edges, latency_ms={device: float(record[device]) for device in devices})
        for record in records
        if has_path(edges := parse_cell(record["arch"]))
    ]
    return rows, len(records) - len(rows)
