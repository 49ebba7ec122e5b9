"""The cost model fitted to 1,000 networks of NAS-Bench-201 on a board, judged on all others.

    python benchmarks/nasbench201.py [--draws 3] [-o RESULT.json]

raspi4 and pixel3 of HW-NAS-Bench (arXiv 2103.10584), fp32; runtime and threads are not stated there. Networks without a path from
input to output are left out. Beside it the same fit where every operator counts that the output depends on, and where all do:
which dead operators those runtimes execute is worth more than any choice of features.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from cost_model import judge
from harness import Table, bars, publish
from nasbench201_rows import Row, read_rows
from scipy.stats import spearmanr

from edgekit.devices.calibration import Measurement, calibrate
from edgekit.devices.cost_model import total_work
from edgekit.devices.nasbench201 import live, operators_of
from edgekit.devices.precision import Precision

FITTED = 1000
BAR_ERROR, BAR_SPEARMAN = {"raspi4": 0.088, "pixel3": 0.080}, 0.966
EXECUTED, LIVE, ALL = "executed", "live", "all"


def measurements_of(rows: Sequence[Row], device: str, counted: str) -> list[Measurement]:
    if counted == EXECUTED:
        return [row.measurement(device) for row in rows]
    return [
        replace(row.measurement(device), work=total_work(operators_of(edges), Precision.FP32))
        for row in rows
        for edges in [live(row.edges) if counted == LIVE else row.edges]
    ]


def judged(measurements: Sequence[Measurement], seed: int) -> dict[str, float]:
    order = np.random.default_rng(seed).permutation(len(measurements))
    fits = calibrate([measurements[index] for index in order[:FITTED]])
    others = [measurements[index] for index in order[FITTED:]]
    rates = fits[Precision.FP32].rates
    ranks = spearmanr([rates.latency_ms(one.work) for one in others], [one.latency_ms for one in others])
    return {**judge(fits, others), "spearman": float(ranks.statistic)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/nasbench201.json")
    options = parser.parse_args()
    rows, without_path = read_rows()
    figures, lines, tests = [], [], []
    for device, bar in BAR_ERROR.items():
        for counted in (ALL, LIVE, EXECUTED):
            measurements = measurements_of(rows, device, counted)
            draws = [judged(measurements, seed) for seed in range(options.draws)]
            mean = {name: fmean(draw[name] for draw in draws) for name in draws[0]}
            figures.append({"device": device, "counted": counted, "draws": draws})
            lines.append(
                (
                    device,
                    counted,
                    f"{mean['mape']:.1%}",
                    f"{mean['median']:.1%}",
                    f"{mean['spearman']:.3f}",
                    f"{mean['coverage']:.0%}",
                    f"{mean['interval_high_over_low']:.2f}",
                )
            )
        tests += [
            (f"{device}: mean error", f"{mean['mape']:.1%}", f"at most {bar:.1%}", mean["mape"] <= bar),
            (
                f"{device}: Spearman",
                f"{mean['spearman']:.3f}",
                f"at least {BAR_SPEARMAN}",
                mean["spearman"] >= BAR_SPEARMAN,
            ),
        ]
    tables = [
        Table(
            f"Fitted to {FITTED} of {len(rows)} networks ({without_path} without a path), mean of {options.draws} draws",
            ("device", "operators counted", "mean error", "median", "Spearman", "in 90 % interval", "high / low"),
            lines,
        ),
        bars(*tests),
    ]
    publish("nasbench201", tables, {"results": figures}, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
