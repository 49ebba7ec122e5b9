"""Writes `card.md` of a supernet from its `card.json` and from what `NAME_accuracy.py` and `NAME_tasks.py` measured.

What only people know of its training stands in the folder's `notes.md`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness import REPO_ROOT, open_model, options_of

from edgekit.core.records import write_bytes
from edgekit.supernet.storage import SupernetFolder

NOTES = "notes.md"
SHOWN = 12


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--results", type=Path, default=REPO_ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    folder = open_model(options)
    accuracy = _figures(options.results / f"{folder.name}_accuracy.json")
    measured = options.results / f"{folder.name}_tasks.json"
    tasks = _tasks(folder, _figures(measured)) if measured.exists() else []
    write_bytes(options.output or folder.path / "card.md", _card(folder, accuracy, tasks).encode())
    return 0


def _figures(path: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(path.read_text())["figures"]
    return figures


def _card(folder: SupernetFolder, accuracy: dict[str, Any], tasks: list[str]) -> str:
    card, training, predictor = folder.card, folder.card["training"], folder.card["predictor"]
    spec, kept_out = folder.spec, card["kept_out_compositions"]
    sizes = ", ".join(f"{size}x{size}" for size in reversed(spec.image_sizes))
    blocks = [
        f"| {index} | {block.kind} {block.kernel}x{block.kernel} | {block.in_channels} -> {block.out_channels} | "
        f"{block.hidden_channels} | {block.stride} | {block.bricks} x {block.brick_channels} | {block.fewest_bricks} |"
        for index, block in enumerate(spec.blocks)
    ]
    return "\n".join(
        [
            f"# {folder.name}",
            "",
            f"A modular supernet: {card['parameters']:,} weights, {spec.labels} labels, {sizes} RGB in "
            f"[0, 1]. The full genotype is `{spec.full}`, the smallest `{spec.smallest}`.",
            "",
            "| block | kind | channels | hidden | stride | bricks x channels | fewest bricks |",
            "|---|---|---|---|---|---|---|",
            *blocks,
            "",
            "## Data",
            f"{card['data']}. {card['licence']}",
            "",
            "## Training",
            f"`edgekit models train models/{folder.name}/recipe.toml --data DIR -o DIR`: {training['steps']:,} steps of "
            f"{training['batch']} images, {training['seconds'] / 60:.0f} minutes on {training['device']} (torch "
            f"{training['torch']}); {training['train_images']:,} images to train with, {training['held_out_images']:,} of "
            "other tracks held out for choices and for the accuracy predictor.",
            "",
            *([notes.read_text()] if (notes := folder.path / NOTES).exists() else []),
            "## Measured accuracy",
            f"On {accuracy['images']:,} {accuracy['split']} images, all labels; int8 files are calibrated with the shipped "
            f"pictures (`python benchmarks/{folder.name}_accuracy.py`):",
            "",
            "| image size | fp32 | int8 file |",
            "|---|---|---|",
            *(
                f"| {size['image_size']} | {size['fp32']:.2%} +- {size['fp32_se']:.2%} "
                f"| {size['int8']:.2%} +- {size['int8_se']:.2%} |"
                for size in accuracy["sizes"]
            ),
            "",
            *tasks,
            "## Accuracy predictor",
            f"On genotypes kept out of its fit, over tasks: mean absolute error {predictor['mean_absolute_error']:.2%}, 90 % of "
            f"errors within {predictor['p90_absolute_error']:.2%}, rank correlation {_rank(predictor)} (held-out "
            "images, when it was fitted).",
            "",
            "## Kept out of training",
            "No task with the labels of one of these compositions was drawn in training:",
            *(f"- `{text}`" for text in kept_out[:SHOWN]),
            *([f"- and {len(kept_out) - SHOWN:,} more, listed in `card.json`"] if len(kept_out) > SHOWN else []),
            "",
        ]
    )


def _tasks(folder: SupernetFolder, tasks: dict[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {values['assembler']['mean']:.2%} +- {values['assembler']['se']:.2%} | {_int8(values)} |"
        for name, values in tasks["accuracy"].items()
    ]
    return [
        f"Assembled networks, without training (`python benchmarks/{folder.name}_tasks.py`):",
        "",
        "| tasks, MACs of the full supernet | mean top-1, fp32 | int8 file |",
        "|---|---|---|",
        *rows,
        "",
    ]


def _rank(predictor: dict[str, Any]) -> str:
    spearman = predictor["spearman"]
    return "unknown" if spearman is None else f"{spearman:.2f}"


def _int8(values: dict[str, Any]) -> str:
    found = values.get("assembler int8")
    return f"{found['mean']:.2%} +- {found['se']:.2%}" if found else ""


if __name__ == "__main__":
    sys.exit(main())
