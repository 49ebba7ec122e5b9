"""Ten measurements on a device that nothing is known of: how well are all other networks ranked?

    python benchmarks/new_device.py [--draws 30] [-o RESULT.json]

NAS-Bench-201 on the six devices for which HELP (arXiv 2106.08630, table 2) gives its rank correlation with ten measurements.
In each draw the networks to measure are picked out of 2,000 random ones, D-optimally over the numbers of operators, and the
predictor is chosen by leave-one-out: numbers of all operators, or of those that a runtime which drops dead ones executes. No
other device is looked at. HELP's draws were others.

That dead convolutions run where they are folded with a product of zero was found on pixel3, which is not among the six, and on
raspi4, which is.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from harness import Table, bars, publish
from nasbench201_rows import read_rows
from scipy.stats import spearmanr

from edgekit.devices.few_measurements import Matrix, d_optimal, fit_few
from edgekit.devices.nasbench201 import Edge, executed

HELP = {"titan_rtx_256": 0.987, "gold_6226": 0.989, "pixel2": 0.802, "raspi4": 0.890, "eyeriss": 0.940, "fpga": 0.985}
OPERATORS = ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect")
POOL = 2000
BAR_MEAN, BAR_BELOW = 0.95, 0.01


def counts(edges: Sequence[Edge]) -> list[float]:
    """Of each operator, and 1 for what every network has."""
    found = Counter(edge.operator for edge in edges)
    return [*(float(found[operator]) for operator in OPERATORS), 1.0]


def spearmans(
    descriptions: dict[str, Matrix], latency_ms_N: Matrix, *, measurements: int, draws: int
) -> tuple[list[float], int]:
    """Of each draw, over all networks; and how often all operators were chosen."""
    together = np.hstack([description[:, :-1] for description in descriptions.values()])
    together = np.hstack([together, np.ones((len(together), 1))])
    found, chose_all = [], 0
    for seed in range(draws):
        pool = np.random.default_rng(seed).choice(len(latency_ms_N), POOL, replace=False)
        picked = pool[list(d_optimal(together[pool], measurements))]
        fit = fit_few({name: x_NF[picked] for name, x_NF in descriptions.items()}, latency_ms_N[picked])
        predicted = fit.latency_ms(descriptions[fit.description])
        found.append(float(spearmanr(predicted, latency_ms_N).statistic))
        chose_all += fit.description == "all"
    return found, chose_all


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/new_device.json")
    options = parser.parse_args()
    rows, without_path = read_rows()
    descriptions = {
        "all": np.array([counts(row.edges) for row in rows]),
        "executed": np.array([counts(executed(row.edges)) for row in rows]),
    }
    lines, figures = [], []
    means: dict[int, dict[str, float]] = {10: {}, 20: {}}
    for device, published in HELP.items():
        latency_ms_N = np.array([row.latency_ms[device] for row in rows])
        cells: list[object] = [device, f"{published:.3f}"]
        for measurements, of_device in means.items():
            found, chose_all = spearmans(descriptions, latency_ms_N, measurements=measurements, draws=options.draws)
            of_device[device] = float(np.mean(found))
            cells += [f"{np.mean(found):.3f} +- {np.std(found):.3f}", f"{min(found):.3f}"]
            figures.append(
                {
                    "device": device,
                    "measurements": measurements,
                    "spearman": found,
                    "chose_all": chose_all,
                    "help": published,
                }
            )
        lines.append((*cells, f"{chose_all} of {options.draws}"))
    ten = means[10]
    worst = min(HELP, key=lambda device: ten[device] - HELP[device])
    mean = float(np.mean(list(ten.values())))
    lines.append(
        (
            "mean",
            f"{np.mean(list(HELP.values())):.3f}",
            f"{mean:.3f}",
            "",
            f"{np.mean(list(means[20].values())):.3f}",
            "",
            "",
        )
    )
    tables = [
        Table(
            f"Spearman over {len(rows)} networks ({without_path} without a path left out): HELP, 10 and 20 measurements",
            ("device", "HELP, 10", "10", "least", "20", "least", "all operators chosen"),
            lines,
        ),
        bars(
            ("mean over devices", f"{mean:.3f}", f"above {BAR_MEAN}", mean > BAR_MEAN),
            (
                f"most below HELP ({worst})",
                f"{HELP[worst] - ten[worst]:+.3f}",
                f"at most {BAR_BELOW}",
                HELP[worst] - ten[worst] <= BAR_BELOW,
            ),
        ),
    ]
    publish("new_device", tables, {"draws": options.draws, "results": figures}, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
