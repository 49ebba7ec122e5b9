"""How wrong is it to predict a device from its nearest relative?

    python benchmarks/relatives.py [-o RESULT.json]

First, for every way to tell how fast a board is beside another, boards that were measured are left out and predicted from the
others: how many times too high or too low nine of ten networks are at most, with each board counted alike (of fewer than ten
boards: on the worst), and how many networks of a board the spread of all other boards covers. Second, the devices that ship with
figures of TFLite are predicted as if they had none. Third, NAS-Bench-201: networks of pixel3 that its prediction does not use;
pixel2 and a Galaxy S7, whose runtime HELP (arXiv 2106.08630) does not name; and what a cost model fitted to such cells alone says
of MobileNets on the one board that has both. Fourth, what part of the latency such a model puts down to arithmetic. Fifth,
MobileNets by XNNPACK, whose kernels TFLite has taken over since, against predictions that did not use them.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from boards_left_out import LeftOut, all_left_out
from cost_model import judge
from harness import Table, bars, publish
from nasbench201_rows import Row, read_rows
from scipy.stats import spearmanr

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import UsageError
from edgekit.devices.calibration import Fit, Measurement, calibrate, read_measurements
from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.device import Device, list_devices, load_device
from edgekit.devices.networks import reference_network
from edgekit.devices.precision import Precision
from edgekit.devices.relatives import SPREAD, Basis, read_figures
from edgekit.devices.target import Target

CONFIDENCE = 0.9
FEW = 10
FITTED, JUDGED = 300, 2000
BAR_COVERAGE = 0.85
CHECKED, FAMILIES = ("rpi4", "rpi3", "pixel2"), ("mobilenet_v1", "mobilenet_v2")
NO_NAMED_RUNTIME = (("pixel2", "pixel2"), ("galaxy-s7", "samsung_s7"))


def spread(found: Iterable[LeftOut]) -> float:
    """The quantile of |log error| with each board counted alike; of few boards, which have no tenth, that of the worst board."""
    sizes: dict[str, list[float]] = {}
    for one in found:
        sizes.setdefault(one.board, []).extend(abs(error) for error in one.log_errors)
    if len(sizes) < FEW:
        return max(float(np.quantile(errors, CONFIDENCE)) for errors in sizes.values())
    weighted = sorted((size, 1 / len(errors)) for errors in sizes.values() for size in errors)
    reached = np.cumsum([weight for _, weight in weighted])
    return weighted[int(np.searchsorted(reached, CONFIDENCE * len(sizes)))][0]


def coverages(found: Sequence[LeftOut]) -> dict[str, float]:
    """By board, the networks within the spread of the observations that it has no part in."""
    boards = {}
    for board in sorted({one.board for one in found}):
        others = [one for one in found if board not in {one.board, one.other}]
        mine = [abs(error) for one in found if one.board == board for error in one.log_errors]
        if others:
            within = spread(others)
            boards[board] = fmean(size <= within for size in mine)
    return boards


def ways(found: Sequence[LeftOut]) -> tuple[Table, list[dict[str, Any]]]:
    rows, figures = [], []
    for basis in Basis:
        mine = [one for one in found if one.basis is basis]
        covered = coverages(mine)
        figure = {
            "basis": str(basis),
            "boards": len({one.board for one in mine}),
            "pairs": len(mine),
            "median": math.exp(median(abs(error) for one in mine for error in one.log_errors)),
            "spread": math.exp(spread(mine)),
            "coverage_left_out": fmean(covered.values()),
            "coverage_of_board": covered,
            "shipped": SPREAD[basis],
        }
        figures.append(figure)
        least = min(covered, key=lambda board: covered[board])
        rows.append(
            (
                basis,
                figure["boards"],
                figure["pairs"],
                f"{figure['median']:.2f}",
                f"{figure['spread']:.2f}",
                f"{SPREAD[basis]:g}",
                f"{figure['coverage_left_out']:.0%}",
                f"{covered[least]:.0%} {least}",
            )
        )
    columns = (
        "told by",
        "boards",
        "pairs",
        "half within x",
        "90 % within x",
        "shipped",
        "boards left out held",
        "least",
    )
    return Table("Boards left out, by what tells how fast they are", columns, rows), figures


def without_figures(device: Device) -> Device:
    """The device as if nobody had measured TFLite on it."""
    return replace(device, runtimes=tuple(replace(runtime, calibration="") for runtime in device.runtimes))


def as_relative(device: Device, precision: Precision) -> tuple[str, Fit]:
    """What predicts it, and rates and uncertainty that `judge` takes."""
    runtime = device.runtime("tflite")
    model = load_cost_model(
        Target(device=without_figures(device), runtime=runtime.name, precision=precision, threads=runtime.threads)
    )
    assert model.relative is not None
    told = f"{model.relative.device.name} x {model.relative.times:.2f}, {model.relative.basis}"
    return told, Fit(rates=model.rates, uncertainty=model.uncertainty, left_out=())


def judged_row(name: str, told: str, row: dict[str, float]) -> tuple[str, ...]:
    return (
        name,
        told,
        f"{row['networks']}",
        f"{row['bias']:+.0%}",
        f"{row['median']:.0%}",
        f"{row['coverage']:.0%}",
        f"{row['interval_high_over_low']:.1f}",
        f"{row['spearman']:.3f}",
    )


def judge_and_rank(precision: Precision, fit: Fit, judged: Sequence[Measurement]) -> dict[str, float]:
    predicted = [fit.rates.latency_ms(one.work) for one in judged]
    ranks = spearmanr(predicted, [one.latency_ms for one in judged])
    return {**judge({precision: fit}, judged), "spearman": float(ranks.statistic)}


def devices_left_out() -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for device in list_devices(data_folder("devices")):
        runtime = device.runtime("tflite")
        if not runtime.has_figures:
            continue
        measurements = read_measurements(device.folder / runtime.calibration)
        for precision in runtime.precisions:
            name = f"{device.name}:tflite-{precision}"
            try:
                told, fit = as_relative(device, precision)
            except UsageError as error:
                yield (name, "no relative", *[""] * 6), {"target": name, "error": str(error)}
                continue
            row = judge_and_rank(precision, fit, [one for one in measurements if one.precision is precision])
            yield judged_row(name, told, row), {"target": name, "relative": told, **row}


def unused_figures() -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    rows, _ = read_rows()
    pixel3 = load_device("pixel3")
    (figures,) = pixel3.figures
    used = {network for network, _, _ in read_figures(pixel3.folder, figures)}
    rest = random.Random(0).sample([row for row in rows if row.architecture not in used], JUDGED)  # noqa: S311
    told, fit = as_relative(pixel3, Precision.FP32)
    yield _judged("pixel3, cells", told, fit, [row.measurement("pixel3") for row in rest])
    for device, column in NO_NAMED_RUNTIME:
        told, fit = as_relative(load_device(device), Precision.FP32)
        yield _judged(f"{device}, cells, runtime not named", told, fit, [row.measurement(column) for row in rest])
    own = fit_to_cells(rows, "raspi4")
    rpi4 = load_device("rpi4")
    mobilenets = read_measurements(rpi4.folder / rpi4.runtime("tflite").calibration)
    floats = [one for one in mobilenets if one.precision is Precision.FP32]
    yield _judged("rpi4, MobileNets", f"fit to {FITTED} cells on rpi4", own, floats)


def fit_to_cells(rows: Sequence[Row], column: str) -> Fit:
    fitted = random.Random(1).sample(rows, FITTED)  # noqa: S311
    return calibrate([row.measurement(column) for row in fitted])[Precision.FP32]


def arithmetic() -> Iterator[tuple[str, float]]:
    """Part of the latency that rates fitted to cells put down to multiply-accumulates and what is gathered for them: the median."""
    rows, _ = read_rows()
    judged = random.Random(0).sample(rows, JUDGED)  # noqa: S311
    for device, column in (("rpi4", "raspi4"), ("pixel3", "pixel3"), *NO_NAMED_RUNTIME):
        rates = fit_to_cells(rows, column).rates
        works = [row.measurement(column).work for row in judged]
        yield (
            device,
            median(
                (rates.ms_per_mmac * work.mmacs + rates.ms_per_patch_mbyte * work.patch_mbytes) / rates.latency_ms(work)
                for work in works
            ),
        )


def _judged(name: str, told: str, fit: Fit, judged: list[Measurement]) -> tuple[tuple[str, ...], dict[str, Any]]:
    row = judge_and_rank(Precision.FP32, fit, judged)
    return judged_row(name, told, row), {"judged": name, "by": told, **row}


def published() -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for name in CHECKED:
        device = load_device(name)
        (figures,) = (one for one in device.figures if one.name == "xnnpack")
        for (network, number_format, threads), ms in read_figures(device.folder, figures).items():
            if network not in FAMILIES:
                continue
            precision = Precision(number_format)
            target = Target(device=device, runtime="tflite", precision=precision, threads=threads)
            latency = load_cost_model(target).predict_latency(reference_network(network, width=1.0, resolution=224))
            assert latency.interval is not None
            low, high = latency.interval
            held = low <= ms <= high
            row = (f"{name}:{precision}", network, f"{ms:g}", f"{latency.value:.0f}", f"{low:.0f} to {high:.0f}", held)
            figure = {"target": str(target), "network": network, "published_ms": ms, **latency.to_json(), "held": held}
            yield (*row[:-1], "yes" if held else "NO"), figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/relatives.json")
    options = parser.parse_args()
    found = all_left_out()
    table, by_way = ways(found)
    left_out, unused, parts = list(devices_left_out()), list(unused_figures()), list(arithmetic())
    checked = list(published())
    columns = ("", "predicted as", "networks", "bias", "median error", "in interval", "high / low", "Spearman")
    coverage = fmean(figure["coverage"] for _, figure in left_out if "coverage" in figure)
    tables = [
        table,
        Table("Devices with figures of TFLite, predicted as if they had none", columns, [row for row, _ in left_out]),
        Table("Figures that no prediction uses, fp32", columns, [row for row, _ in unused]),
        Table(
            f"Latency of cells that a fit to {FITTED} of them puts down to arithmetic",
            ("", "half of the networks above"),
            [(device, f"{part:.0%}") for device, part in parts],
        ),
        Table(
            "MobileNet V1 and V2, 1.0, 224 x 224, by XNNPACK with four threads, ms",
            ("", "", "published", "predicted", "interval", "held"),
            [row for row, _ in checked],
        ),
        bars(
            *(
                (
                    f"spread, {figure['basis']}",
                    f"{figure['spread']:.2f}",
                    f"at most {figure['shipped']:g}",
                    figure["spread"] <= figure["shipped"],
                )
                for figure in by_way
            ),
            (
                "devices left out: networks in the interval",
                f"{coverage:.0%}",
                f"at least {BAR_COVERAGE:.0%}",
                coverage >= BAR_COVERAGE,
            ),
        ),
    ]
    figures = {
        "ways": by_way,
        "devices_left_out": [figure for _, figure in left_out],
        "unused": [figure for _, figure in unused],
        "arithmetic": dict(parts),
        "published": [figure for _, figure in checked],
    }
    publish("relatives", tables, figures, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
