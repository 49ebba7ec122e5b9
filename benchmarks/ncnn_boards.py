"""Ten measurements on an unknown board: how wrong are the latencies of all other networks?

    python benchmarks/ncnn_boards.py [-o RESULT.json]

24 fp32 networks on 63 boards and phones with their numbers of threads, from ncnn's own benchmark (Tencent/ncnn, BSD-3). Each
board is left out with all its settings. Ten networks are picked D-optimally, the fourteen others judged: by multiply-accumulates
alone (the median rate of the ten), by rates of the board's own (arithmetic, parameters, activations, layers), by a typical board
at another speed, by the five settings that agree best on the ten, and by whichever of the last three leave-one-out prefers.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from harness import LATENCIES, Table, absent, publish

from edgekit.devices.few_measurements import Matrix, d_optimal, fit_few

_FEATURES = ("mmacs", "mparams", "mactivations", "n_weight_layers")
PICKED, NEAREST = 10, 5
MACS, OWN, TYPICAL, NEAR, CHOSEN = "MACs alone", "rates of its own", "typical board", "five nearest", "chosen"

Setting = tuple[str, str, str]


def read() -> tuple[list[Setting], Matrix, Matrix]:
    """Settings (board, threads, power mode), `latency_ms_SN` and `x_NF` of the networks. Ends the program without the data."""
    if not LATENCIES.exists():
        absent(f"no {LATENCIES}")
    with (LATENCIES / "ncnn_models_summary.csv").open(newline="") as file:
        networks = {row["model"]: row for row in csv.DictReader(file)}
    names = [name for name, row in networks.items() if float(row["mmacs"]) > 0 and not name.endswith("int8")]
    table: dict[Setting, dict[str, float]] = defaultdict(dict)
    with gzip.open(LATENCIES / "ncnn_bench.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["gpu_device"] == "-1":
                setting = row["board"], row["num_threads"], row["powersave"]
                table[setting].setdefault(row["model"], float(row["min_ms"]))
    settings = [setting for setting, found in table.items() if all(found.get(name, 0) > 0 for name in names)]
    latency_ms_SN = np.array([[table[setting][name] for name in names] for setting in settings])
    return settings, latency_ms_SN, np.array([[float(networks[name][key]) for key in _FEATURES] for name in names])


def errors(index: int, settings: list[Setting], latency_ms_SN: Matrix, x_NF: Matrix) -> tuple[dict[str, float], str]:
    """Mean relative error over the networks not picked, by method; and the description that was chosen."""
    others_SN = np.log(latency_ms_SN[[other[0] != settings[index][0] for other in settings]])
    others_SN -= others_SN.mean(1, keepdims=True)
    y_N, ones_N = latency_ms_SN[index], np.ones(x_NF.shape[0])
    typical_N = np.exp(others_SN.mean(0))
    own_NF = np.hstack([x_NF, ones_N[:, None]])
    picked = list(d_optimal(np.hstack([own_NF, typical_N[:, None]]) / typical_N[:, None], PICKED))
    rest = np.setdiff1d(np.arange(len(y_N)), picked)
    apart_S = np.std(others_SN[:, picked] - np.log(y_N[picked]), axis=1)
    nearest_SN = others_SN[np.argsort(apart_S)[:NEAREST]]
    near_N = np.exp((nearest_SN - nearest_SN[:, picked].mean(1, keepdims=True)).mean(0))
    descriptions = {
        OWN: own_NF,
        TYPICAL: np.stack([typical_N, ones_N], axis=1),
        NEAR: np.stack([near_N, ones_N], axis=1),
    }

    def error(predicted_N: Matrix) -> float:
        return float(np.mean(np.abs(predicted_N[rest] / y_N[rest] - 1)))

    alone = {name: error(fit_few({name: x[picked]}, y_N[picked]).latency_ms(x)) for name, x in descriptions.items()}
    chosen = fit_few({name: x[picked] for name, x in descriptions.items()}, y_N[picked]).description
    macs_N = x_NF[:, 0]
    by_macs = error(np.median(y_N[picked] / macs_N[picked]) * macs_N)
    return {MACS: by_macs, **alone, CHOSEN: alone[chosen]}, chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/ncnn_boards.json")
    options = parser.parse_args()
    settings, latency_ms_SN, x_NF = read()
    found = [errors(index, settings, latency_ms_SN, x_NF) for index in range(len(settings))]
    methods = list(found[0][0])
    chosen = Counter(description for _, description in found)
    lines = [
        (
            method,
            f"{np.mean([one[method] for one, _ in found]):.1%}",
            f"{np.median([one[method] for one, _ in found]):.1%}",
            f"{np.quantile([one[method] for one, _ in found], 0.9):.1%}",
            chosen.get(method, ""),
        )
        for method in methods
    ]
    boards = len({board for board, _, _ in settings})
    title = (
        f"{len(settings)} settings of {boards} boards, {PICKED} of {len(x_NF)} networks measured: error on the others"
    )
    figures = {
        "settings": [
            {"board": board, "threads": threads, "powersave": mode, "errors": one}
            for (board, threads, mode), (one, _) in zip(settings, found, strict=True)
        ]
    }
    columns = ("predicted by", "mean", "median setting", "90 % of settings", "chosen")
    publish("ncnn_boards", [Table(title, columns, lines)], figures, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
