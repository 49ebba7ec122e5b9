"""Recipe, vocabulary and images to train a supernet without some of its labels, which `own_classes.py` then learns.

    python benchmarks/fewer_labels.py [--leave-out 20] [--recipe FILE] [--length 0.5] [--seed N] [--model things200] -o FOLDER
    edgekit models train FOLDER/recipe.toml --data FOLDER/images --skip-bad -o FOLDER/model
    python benchmarks/own_classes.py --model FOLDER/model --data IMAGES

The labels left out are drawn at random. The recipe is the model's own, or `--recipe` (for 2 CPU cores
models/things200/recipe-cpu.toml), its steps cut to `--length`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import open_model, options_of
from numpy.typing import NDArray

from edgekit.supernet.storage import VOCABULARY
from edgekit.tasks.vocabulary import Vocabulary


def shortened(recipe: str, name: str, length: float) -> str:
    recipe = re.sub(r'^name = ".*"', f'name = "{name}"', recipe, flags=re.MULTILINE)
    return re.sub(
        r"^((?:warmup_)?steps = )(\d+)",
        lambda found: f"{found[1]}{round(int(found[2]) * length)}",
        recipe,
        flags=re.MULTILINE,
    )


def write_images(source: Path, target: Path, number_L: NDArray[np.int64]) -> None:
    """The rows of the labels that keep a number, under it; -1 drops a label. The names of classes are dropped."""
    target.mkdir(parents=True)
    for path in sorted(source.glob("train*.parquet")):
        table = pq.read_table(path)
        label_N = number_L[table["label"].to_numpy()]
        kept = table.set_column(table.schema.get_field_index("label"), "label", pa.array(label_N))
        pq.write_table(kept.filter(pa.array(label_N >= 0)).replace_schema_metadata(None), target / path.name)


def main() -> int:
    parser = options_of(__doc__, model="things200")
    parser.add_argument("--leave-out", type=int, default=20)
    parser.add_argument("--recipe", type=Path, help="default: the model's own")
    parser.add_argument("--length", type=float, default=0.5, help="share of the recipe's steps")
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    if options.output is None or options.output.exists():
        parser.error("name a new folder with -o")
    labels = folder.vocabulary.labels
    left_out = np.random.default_rng(options.seed).choice(len(labels), options.leave_out, replace=False)
    kept = [label for label in labels if label.index not in left_out]
    number_L = np.full(len(labels), -1)
    number_L[[label.index for label in kept]] = np.arange(len(kept))

    write_images(options.data, options.output / "images", number_L)
    Vocabulary(tuple(replace(label, index=index) for index, label in enumerate(kept))).save(options.output / VOCABULARY)
    recipe = (options.recipe or folder.path / "recipe.toml").read_text()
    shorter = shortened(recipe, f"{folder.name} without {options.leave_out}", options.length)
    (options.output / "recipe.toml").write_text(shorter)
    print("left out: " + ", ".join(sorted(labels[index].name for index in left_out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
