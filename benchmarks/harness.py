"""What every benchmark shares: its options, its table, its record."""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import stdev
from typing import Any, NoReturn

import torch

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.costs import CostOf
from edgekit.core.errors import EdgekitError
from edgekit.core.records import sha256_of, write_json
from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.target import parse_target
from edgekit.pipeline.figures import price
from edgekit.supernet.storage import CARD, SupernetFolder, open_supernet
from edgekit.version import VERSION

REPO_ROOT = Path(__file__).resolve().parents[1]
IMAGES = REPO_ROOT.parent / "shared" / "data" / "images"
LATENCIES = REPO_ROOT.parent / "shared" / "data" / "latency"
_LIBRARIES = ("torch", "numpy", "litert-torch", "ai-edge-litert", "ai-edge-quantizer")

Bar = tuple[str, str, str, bool]
"""What it is about, the measured figure, the bar, and whether it is met."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts and numbers, printed with the first column to the left and all others to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        lines = [list(map(str, row)) for row in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = (
            "  ".join(cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(cells))
            for cells in (list(zip(line, widths, strict=True)) for line in lines)
        )
        return "\n".join([self.title, *(line.rstrip() for line in body)])


def options_of(description: str | None, *, model: str = "signs43") -> argparse.ArgumentParser:
    """The options that all benchmarks take; a benchmark adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=model, help="a supernet by name, or the folder of one; default: %(default)s")
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with train*.parquet and test*.parquet or validation*.parquet, those of the model",
    )
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/NAME.json")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def open_model(options: argparse.Namespace, *, needs_data: bool = False) -> SupernetFolder:
    """The supernet asked for; `options.data` becomes the folder of its images.

    Ends the program with one sentence and code 2 where the supernet, or data that is needed, is absent.
    """
    try:
        model = open_supernet(options.model)
    except EdgekitError as error:
        absent(f"{error} ({error.hint})")
    options.data = options.data or IMAGES / model.name
    if needs_data and not any(options.data.glob("*.parquet")):
        absent(f"no Parquet files in {options.data}: name the folder of images with --data")
    return model


def absent(sentence: str) -> NoReturn:
    print(f"skipped: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def bars(*rows: Bar) -> Table:
    return Table("Bars", ("", "measured", "bar", ""), [(*row, "met" if met else "MISSED") for *row, met in rows])


def load_assembler(model: SupernetFolder) -> tuple[Assembler, CostOf]:
    """The assembler, and the price of operators on the default target, a Raspberry Pi 4 with int8."""
    target = parse_target("rpi4")
    return Assembler.load(model), partial(price, load_cost_model(target), target.precision)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; NaN for a single value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def publish(
    name: str,
    tables: Sequence[Table],
    figures: dict[str, Any],
    output: Path | None,
    *,
    model: SupernetFolder | None = None,
    write: bool = True,
) -> None:
    """Prints the tables and writes the figures, with what they were measured on, to benchmarks/results/NAME.json.

    Where `write` is false, what was measured is too little for a record, unless `output` asks for one.
    """
    print("\n\n".join(map(str, tables)))
    if not write and output is None:
        return
    record = {
        "schema_version": 1,
        "benchmark": name,
        **({"model": {"name": model.name, "card_sha256": sha256_of(model.path / CARD)}} if model else {}),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "edgekit": VERSION,
            "libraries": {library: _version(library) for library in _LIBRARIES},
        },
        "figures": figures,
    }
    path = output or REPO_ROOT / "benchmarks" / "results" / f"{name}.json"
    write_json(path, record)
    print(f"\nwritten to {path}")


def _version(library: str) -> str:
    """A benchmark that exports nothing also runs where the exporters are not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
