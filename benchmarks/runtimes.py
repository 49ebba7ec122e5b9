"""What another runtime takes for the same network on the same board: ArmNN 21.02 over TFLite 2.4.1, MLPerf Inference v1.0.

Both with four threads (inferred), on a Raspberry Pi 4 and a Jetson AGX Xavier; prints the ratios that `edgekit profile` widens the
interval of an ONNX file by, which are rounded there.
"""

from __future__ import annotations

import csv
import gzip
import sys

import numpy as np
from harness import LATENCIES, Table, absent, publish

SYSTEMS = {
    "rpi4": ("rpi4coral-fan.on-tflite-v2.4.1-ruy", "rpi4coral-fan.on-armnn-v21.02-neon"),
    "xavier": ("xavier-power.0-fan.cool-tflite-v2.4.1-ruy", "xavier-power.0-fan.cool-armnn-v21.02-neon"),
}


def main() -> int:
    path = LATENCIES / "mlperf_arm.csv.gz"
    if not path.exists():
        absent(f"no {path}")
    with gzip.open(path, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["width"]]

    def latencies(system: str) -> dict[tuple[str, ...], float]:
        keys = ("family", "width", "resolution", "precision")
        return {tuple(row[key] for key in keys): float(row["p50_ms"]) for row in rows if row["system"] == system}

    found = {}
    for board, (tflite, armnn) in SYSTEMS.items():
        ours, theirs = latencies(tflite), latencies(armnn)
        found[board] = [theirs[key] / ours[key] for key in ours if key in theirs]
    found["both"] = [ratio for ratios in list(found.values()) for ratio in ratios]
    lines = [
        (board, len(ratios), *(f"{value:.2f}" for value in np.quantile(ratios, (0.05, 0.5, 0.95))))
        for board, ratios in found.items()
    ]
    publish(
        "runtimes",
        [Table("ArmNN over TFLite", ("board", "networks", "5 %", "median", "95 %"), lines)],
        {"ratios": found},
        None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
