"""Fits the cost model of a device to its table of TFLite latencies and judges it.

    python benchmarks/cost_model.py [DEVICE] [-o RESULT.json] [--write]

Leave-one-out errors against two baselines, coverage of the 90 % intervals, error across families and from large
networks to small ones; `--write` puts the fit into devices/DEVICE/. Where shared/data/latency lies beside the repository
the fp32 model of rpi4 is also judged on networks of another kind that somebody else measured: NAS-Bench-201 cells at 32 x 32
pixels on the same board (published with HW-NAS-Bench, arXiv 2103.10584; runtime version and threads not stated).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from harness import LATENCIES, REPO_ROOT, absent
from nasbench201_rows import read_rows
from scipy.optimize import linprog
from scipy.stats import spearmanr

from edgekit.core.records import write_json
from edgekit.devices.calibration import (
    Fit,
    Measurement,
    calibrate,
    cost_model_record,
    halves,
    leave_one_out,
    read_measurements,
)
from edgekit.devices.device import load_device
from edgekit.devices.precision import Precision

NASBENCH_SAMPLES = 2000


def baseline_errors(measurements: Sequence[Measurement], *, with_bytes: bool) -> list[float]:
    """Leave-one-out predicted / measured - 1 of `a * MACs [+ b * bytes] + c`, by least absolute relative deviations."""
    rows = np.array(
        [
            [one.work.mmacs, (one.work.activation_mbytes + one.work.weight_mbytes) * with_bytes, 1.0]
            for one in measurements
        ]
    )
    rows /= np.array([[one.latency_ms] for one in measurements])
    errors = []
    for index in range(len(rows)):
        seen = np.delete(rows, index, axis=0)
        slack, ones = np.eye(len(seen)), np.ones(len(seen))
        solution = linprog(
            np.concatenate([np.zeros(3), ones]),
            A_ub=np.block([[seen, -slack], [-seen, -slack]]),
            b_ub=np.concatenate([ones, -ones]),
        )
        errors.append(float(rows[index] @ solution.x[:3]) - 1)
    return errors


def summary(errors: Iterable[float]) -> dict[str, float]:
    sizes = [abs(error) for error in errors]
    return {"mape": fmean(sizes), "max": max(sizes)}


def judge(fits: dict[Precision, Fit], judged: Iterable[Measurement]) -> dict[str, float]:
    """Errors and share of intervals that hold the truth, of networks that the fit never saw."""
    errors, held, widths = [], [], []
    for one in judged:
        fit = fits[one.precision]
        latency_ms = fit.rates.latency_ms(one.work)
        low, high = fit.uncertainty.interval_ms(one.work, latency_ms)
        errors.append(latency_ms / one.latency_ms - 1)
        held.append(low <= one.latency_ms <= high)
        widths.append(high / low)
    return {
        **summary(errors),
        "median": median(abs(error) for error in errors),
        "bias": fmean(errors),
        "coverage": fmean(held),
        "interval_high_over_low": median(widths),
        "networks": len(errors),
    }


def judge_left_out(measurements: Sequence[Measurement], precision: Precision) -> dict[str, float]:
    """`judge` where each network is left out of the whole calibration, intervals included."""
    held = []
    for network in dict.fromkeys(one.network for one in measurements if one.precision is precision):
        fits = calibrate([one for one in measurements if one.network != network])
        held.append(judge(fits, [one for one in measurements if one.network == network and one.precision is precision]))
    return {"coverage": fmean(row["coverage"] for row in held)}


def splits(measurements: Sequence[Measurement]) -> Iterator[tuple[str, list[Measurement], list[Measurement]]]:
    smaller, larger = halves(measurements)
    yield "small from large", larger, smaller
    yield "large from small", smaller, larger
    first, second = (
        [one for one in measurements if f"family mobilenet_v{version}" in one.groups] for version in (1, 2)
    )
    yield "V2 from V1", first, second
    yield "V1 from V2", second, first


def judge_nasbench(fits: dict[Precision, Fit]) -> dict[str, float]:
    rows, _ = read_rows()
    measurements = [row.measurement("raspi4") for row in random.Random(0).sample(rows, NASBENCH_SAMPLES)]  # noqa: S311
    predicted = [fits[Precision.FP32].rates.latency_ms(one.work) for one in measurements]
    ranks = spearmanr(predicted, [one.latency_ms for one in measurements])
    return {**judge(fits, measurements), "spearman": float(ranks.statistic)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", nargs="?", default="rpi4")
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/cost_model_DEVICE.json")
    parser.add_argument("--write", action="store_true", help="write the fit into devices/DEVICE/tflite.json")
    options = parser.parse_args()
    device = load_device(options.device)
    runtime = device.runtime("tflite")
    if not runtime.has_figures:
        absent(f"{device.name} has no figures of its own: see benchmarks/relatives.py")
    measurements = read_measurements(device.folder / runtime.calibration)
    fits = calibrate(measurements)
    result: dict[str, Any] = {
        "schema_version": 1,
        "device": device.name,
        "runtime": f"{runtime.name} {runtime.version}",
    }

    print(f"{device.title}, {runtime.name} {runtime.version}, {len(measurements)} rows, leave-one-out")
    print(f"{'':24}{'MAPE':>8}{'max':>8}")
    errors = [float(np.expm1(error)) for error in leave_one_out(measurements)]
    for precision in (one for one in Precision if one in fits):
        mine = [one for one in measurements if one.precision is precision]
        table = {
            "MACs": summary(baseline_errors(mine, with_bytes=False)),
            "MACs, bytes": summary(baseline_errors(mine, with_bytes=True)),
            "cost model": summary(
                error for error, one in zip(errors, measurements, strict=True) if one.precision is precision
            ),
        }
        for name, row in table.items():
            print(f"{precision:6}{name:18}{row['mape']:8.1%}{row['max']:8.1%}")
        left_out = judge_left_out(measurements, precision)
        print(f"{precision:6}90 % intervals hold {left_out['coverage']:.0%} of the networks left out")
        result[precision] = {"leave_one_out": table, "intervals": left_out}

    print(f"\n{'':24}{'MAPE':>8}{'max':>8}{'bias':>8}{'held':>8}{'high/low':>10}")
    for name, seen, unseen in splits(measurements):
        seen_fits = calibrate(seen)
        for precision, judged in ((one, [row for row in unseen if row.precision is one]) for one in seen_fits):
            if not judged:
                continue
            result[precision][name] = row = judge(seen_fits, judged)
            print_row(f"{precision:6}{name}", row)
    if device.name == "rpi4" and LATENCIES.exists():
        result[Precision.FP32]["nasbench201"] = row = judge_nasbench(fits)
        print_row("fp32  NAS-Bench-201", row)
        print(f"      {row['networks']} networks; median error {row['median']:.1%}, Spearman {row['spearman']:.3f}")
    write_json(options.output or REPO_ROOT / "benchmarks" / "results" / f"cost_model_{device.name}.json", result)
    if options.write:
        write_json(device.folder / f"{runtime.name}.json", cost_model_record(device, runtime))


def print_row(name: str, row: dict[str, float]) -> None:
    print(
        f"{name:24}{row['mape']:8.1%}{row['max']:8.1%}{row['bias']:8.1%}{row['coverage']:8.0%}"
        f"{row['interval_high_over_low']:10.2f}"
    )


if __name__ == "__main__":
    main()
