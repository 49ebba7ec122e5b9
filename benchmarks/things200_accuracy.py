"""The full `things200` supernet on all 200 labels of validation.parquet, at each image size: fp32, and int8 calibrated with
the synthesised pictures; and the curve of its training.

    python benchmarks/things200_accuracy.py [--curve CURVE.jsonl] [--quick] [-o RESULT.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from full_accuracy import full_accuracy
from harness import Bar, Table, bars, open_model, options_of, publish
from judge import Judge

from edgekit.assembler.training.curve import CURVE
from edgekit.supernet.storage import SupernetFolder

FULL_BAR = 0.55
ROWS = 20


def curve_table(curve: list[dict[str, Any]]) -> Table:
    """About `ROWS` of its records, the last one among them. Accuracies are those of held-out training images."""
    accuracies = [key for key in curve[-1] if key.startswith("acc_")]
    step = -(-len(curve) // ROWS)
    rows = [
        (
            record["step"],
            f"{record['seconds'] / 60:.0f}",
            f"{record['full']:.2f}",
            f"{record['small']:.2f}",
            *(f"{record[key]:.1%}" if key in record else "" for key in accuracies),
        )
        for record in curve[::-1][::step][::-1]
    ]
    columns = ("step", "minutes", "loss", "of small", *(key.removeprefix("acc_") for key in accuracies))
    return Table("Learning curve, held-out images", columns, rows)


def bar_of(folder: SupernetFolder, reached: float, curve: list[dict[str, Any]]) -> Bar:
    """On a GPU a figure; on a CPU the training is too short for it, and its curve stands in."""
    if folder.card["training"]["device"].startswith("cuda"):
        return "top-1, fp32 (GPU recipe)", f"{reached:.2%}", f"at least {FULL_BAR:.0%}", reached >= FULL_BAR
    measured = f"{reached:.2%}, curve of {len(curve)} records"
    return "top-1, fp32 (CPU recipe)", measured, "its best, with its curve", bool(curve)


def main() -> int:
    parser = options_of(__doc__, model="things200")
    parser.add_argument(
        "--curve", type=Path, help="curve.jsonl of the training; default: that in the supernet's folder"
    )
    parser.add_argument("--quick", action="store_true", help="the smallest image size alone; writes no record")
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    path = options.curve or folder.path / CURVE
    curve = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    judge = Judge(folder, options.data)
    sizes = range(1 if options.quick else len(judge.spec.image_sizes))
    found = [full_accuracy(judge, size) for size in reversed(sizes)]
    title = f"full supernet, {judge.spec.labels} labels, {judge.split} images"
    tables = [
        Table(title, ("", "top-1", "bytes"), [row for one in found for row in one.rows()]),
        *([curve_table(curve)] if curve else []),
        bars(bar_of(folder, found[0].fp32, curve)),
    ]
    figures = {
        "images": found[0].images,
        "split": judge.split,
        "accuracy": {"fp32": found[0].fp32, "int8": found[0].int8},
        "sizes": [one.figures() for one in found],
        "curve": curve,
    }
    publish("things200_accuracy", tables, figures, options.output, model=folder, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
