"""The full `signs43` supernet on all 43 labels of test.parquet: fp32, and int8 calibrated with the synthesised pictures."""

from __future__ import annotations

import sys

from full_accuracy import full_accuracy
from harness import Table, bars, open_model, options_of, publish
from judge import Judge

FULL_BAR, INT8_LOSS_BAR = 0.975, 0.005


def main() -> int:
    options = options_of(__doc__).parse_args()
    folder = open_model(options, needs_data=True)
    judge = Judge(folder, options.data)
    found = full_accuracy(judge, len(judge.spec.image_sizes) - 1)
    tables = [
        Table(
            f"full supernet, {judge.spec.labels} labels, {judge.split} images", ("file", "top-1", "bytes"), found.rows()
        ),
        bars(
            ("top-1, fp32", f"{found.fp32:.2%}", f"at least {FULL_BAR:.1%}", found.fp32 >= FULL_BAR),
            (
                "lost by int8",
                f"{found.lost_by_int8:.2%}",
                f"at most {INT8_LOSS_BAR:.1%}",
                found.lost_by_int8 <= INT8_LOSS_BAR,
            ),
        ),
    ]
    figures = {
        "images": found.images,
        "split": judge.split,
        "accuracy": {"fp32": found.fp32, "int8": found.int8},
        "sizes": [found.figures()],
    }
    publish("signs43_accuracy", tables, figures, options.output, model=folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
