"""The emulated lab against this machine: outputs of int8 files bit by bit, and executed instructions in five processes.

    edgekit lab up --device rpi4
    python benchmarks/lab.py [--board lab-qemu] [--processes 5] [-o RESULT.json]

Files: of each shipped supernet a network of half the bricks and the full one, in int8 and fp32, on pictures of its
calibration set; and the int8 files of MLPerf Tiny where the data lies beside the checkout, on uniform noise. fp32 is shown
beside: it need not be identical.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from harness import REPO_ROOT, Table, bars, publish
from numpy.typing import NDArray
from safetensors.numpy import load_file

from edgekit.core.errors import EdgekitError
from edgekit.devices.boards.board import Board, load_board
from edgekit.devices.boards.session import open_board
from edgekit.exporters.foreign import read_foreign_graph
from edgekit.pipeline.build import build
from edgekit.supernet.storage import list_supernets, open_supernet

TINY = REPO_ROOT.parent / "shared" / "data" / "models" / "mlperf_tiny"
INPUTS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """`differing` outputs of all, and the instructions of each process."""

    file: str
    shipped: bool
    precision: str
    macs: int
    inputs: int
    differing: int
    largest_difference: float
    instructions: tuple[int, ...]
    fmla_per_mac: float


def shipped(folder: Path) -> list[tuple[str, Path, NDArray[np.float32]]]:
    """Name, file and inputs."""
    found = []
    for name in list_supernets():
        supernet = open_supernet(name)
        labels = ", ".join(label.name for label in supernet.vocabulary.labels[:5])
        spec = supernet.spec
        half = [max(block.fewest_bricks, block.bricks // 2) for block in spec.blocks]
        for size, genotype in (("half", spec.genotype((0, *half))), ("full", spec.full)):
            for precision in ("int8", "fp32"):
                out = folder / f"{name}-{size}-{precision}"
                made = build(
                    task=labels, model=name, target=f"rpi4:tflite-{precision}", genotype=str(genotype), output=out
                )
                x_NHWC = load_file(made.folder / "outputs.safetensors")["x_NHWC"][:INPUTS]
                found.append((out.name, made.folder / "model.tflite", x_NHWC))
    return found


def foreign() -> list[tuple[str, Path, NDArray[np.float32]]]:
    found = []
    for path in sorted(TINY.rglob("*.tflite")) if TINY.is_dir() else []:
        try:
            graph = read_foreign_graph(path)
        except EdgekitError:
            continue
        (given,) = graph.inputs
        x = np.random.default_rng(0).random((INPUTS, *given.shape[1:]), dtype=np.float32)
        found.append((path.stem, path, x))
    return found


def row(
    board: Board, name: str, path: Path, x: NDArray[np.float32], *, shipped: bool, processes: int, folder: Path
) -> Row:
    np.save(folder / "x.npy", x)
    here, there = folder / "here.npy", folder / "there.npy"
    with open_board(load_board("local")) as session:
        session.outputs(path, folder / "x.npy", here)
    with open_board(board) as session:
        session.outputs(path, folder / "x.npy", there)
        counts = [session.count(path).executed for _ in range(processes)]
    y_here, y_there = np.load(here), np.load(there)
    graph = read_foreign_graph(path)
    return Row(
        file=name,
        shipped=shipped,
        precision="fp32" if graph.dtypes.get("float32") else "int8",
        macs=graph.macs,
        inputs=len(x),
        differing=int((y_here != y_there).sum()),
        largest_difference=float(np.abs(y_here.astype(np.float64) - y_there).max()),
        instructions=tuple(count["total"] for count in counts),
        fmla_per_mac=4 * counts[0]["fmla"] / max(1, graph.macs),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="lab-qemu")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/lab.json")
    options = parser.parse_args()
    board = load_board(options.board)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = []
        for ours, files in ((True, shipped(folder)), (False, foreign())):
            for name, path, x in files:
                rows.append(row(board, name, path, x, shipped=ours, processes=options.processes, folder=folder))
                print(f"{name} done", file=sys.stderr, flush=True)
    int8 = [one for one in rows if one.precision == "int8" and one.shipped]
    others = [one for one in rows if one.precision == "int8" and not one.shipped]
    fp32 = [one for one in rows if one.precision == "fp32"]
    same = sum(len(set(one.instructions)) == 1 for one in rows)
    tables = [
        Table(
            f"{board.name} against this machine, {options.processes} processes each",
            (
                "file",
                "type",
                "MMACs",
                "outputs that differ",
                "by at most",
                "instructions",
                "in all processes",
                "4 FMLA / MAC",
            ),
            [
                (
                    one.file,
                    one.precision,
                    f"{one.macs / 1e6:.2f}",
                    str(one.differing),
                    f"{one.largest_difference:.2g}",
                    f"{one.instructions[0]:,}",
                    "identical" if len(set(one.instructions)) == 1 else "differ",
                    f"{one.fmla_per_mac:.3f}" if one.precision == "fp32" else "",
                )
                for one in rows
            ],
        ),
        Table(
            "int8 files of others",
            ("bit-identical", "outputs that differ in the others", "by at most"),
            [
                (
                    f"{sum(one.differing == 0 for one in others)} of {len(others)}",
                    str(sum(one.differing for one in others)),
                    f"{max((one.largest_difference for one in others), default=0.0):g}",
                )
            ],
        ),
        bars(
            (
                "int8 files of shipped models with bit-identical outputs",
                f"{sum(one.differing == 0 for one in int8)} of {len(int8)}",
                "all",
                all(one.differing == 0 for one in int8),
            ),
            ("files with identical instruction counts", f"{same} of {len(rows)}", "all", same == len(rows)),
        ),
    ]
    largest = max((one.largest_difference for one in fp32), default=0.0)
    publish(
        "lab",
        tables,
        {"board": board.name, "rows": [asdict(one) for one in rows], "fp32_largest": largest},
        options.output,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
