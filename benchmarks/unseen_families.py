"""Latency of MobileNets of one version by a cost model fitted to the other, on every board that was measured with both.

    python benchmarks/unseen_families.py [-o RESULT.json]

Mean error, and how many of the 90 % intervals hold the measured latency: by board and over all.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cost_model import judge, splits
from harness import Table, bars, publish

from edgekit.core.data_folders import data_folder
from edgekit.devices.calibration import calibrate, read_measurements
from edgekit.devices.device import list_devices

FAMILIES = ("V2 from V1", "V1 from V2")
BAR_ERROR, BAR_COVERAGE = 0.10, (0.85, 0.97)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/unseen_families.json")
    options = parser.parse_args()
    figures = []
    with_figures = (one for one in list_devices(data_folder("devices")) if one.runtime("tflite").has_figures)
    for device in with_figures:
        measurements = read_measurements(device.folder / device.runtime("tflite").calibration)
        for name, seen, unseen in (split for split in splits(measurements) if split[0] in FAMILIES):
            fits = calibrate(seen)
            for precision in fits:
                judged = [one for one in unseen if one.precision is precision]
                if judged:
                    row = judge(fits, judged)
                    figures.append({"device": device.name, "split": name, "precision": str(precision), **row})
    networks = sum(row["networks"] for row in figures)
    coverage = sum(row["coverage"] * row["networks"] for row in figures) / networks
    of_rpi4 = max(row["mape"] for row in figures if row["device"] == "rpi4")
    lines = [
        (
            row["device"],
            row["split"],
            row["precision"],
            row["networks"],
            f"{row['mape']:.1%}",
            f"{row['coverage']:.0%}",
            f"{row['interval_high_over_low']:.2f}",
        )
        for row in figures
    ]
    low, high = BAR_COVERAGE
    tables = [
        Table(
            "TFLite, four threads (hikey960: one)",
            ("device", "fitted, judged", "", "networks", "mean error", "in 90 % interval", "high / low"),
            lines,
        ),
        bars(
            ("rpi4: mean error, worst of four", f"{of_rpi4:.1%}", f"at most {BAR_ERROR:.0%}", of_rpi4 <= BAR_ERROR),
            (
                f"intervals that hold, {networks} networks of {len({row['device'] for row in figures})} boards",
                f"{coverage:.0%}",
                f"{low:.0%} to {high:.0%}",
                low <= coverage <= high,
            ),
        ),
    ]
    publish("unseen_families", tables, {"splits": figures, "coverage": coverage}, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
