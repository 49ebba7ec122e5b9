"""Random networks of a supernet compiled by TVM in half precision, against torch, and beside the same with sums in float32.

    python benchmarks/half_precision.py [--model things200] [-n NETWORKS] [-o RESULT.json]
    edgekit lab up --device rpi5 && python benchmarks/half_precision.py --board lab-qemu

Outputs are those of files for this machine, of as many test pictures. Where it has no arithmetic in half precision its products are
rounded before they are added up, which those of the boards are not. With `--board` the same networks are compiled for its device:
instructions of one inference on one thread, and how far its outputs are from those here.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Table, open_model, options_of, publish
from runtime_files import Floats, Network, networks

from edgekit.assembler.training.data import read_parquet
from edgekit.core.fidelity import agreement
from edgekit.devices.boards.board import Board, load_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.device import load_device
from edgekit.exporters.onnx_file import convert_onnx
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tvm.cpu import cpu_of, host_target, tvm_target
from edgekit.exporters.tvm.half import FLOAT, HALF, in_half_precision
from edgekit.exporters.tvm.library import compile_library
from edgekit.exporters.tvm.network import channels_last
from edgekit.exporters.tvm.products import with_kernels
from edgekit.exporters.tvm.rewriting import CONVOLUTION, Call, rewritten
from edgekit.exporters.tvm.schedule import scheduled
from edgekit.exporters.tvm.tile import default_tile
from edgekit.exporters.tvm.toolchain import linker_for

NETWORKS, PICTURES, BOARD_PICTURES = 5, 2000, 16
FP32, FP16, WIDE = "fp32", "fp16", "fp16, sums in float32"
KINDS = (FP32, FP16, WIDE)
Row = dict[str, Any]


def library_of(network: Network, kind: str, target: Any, linker: str, path: Path) -> Path:
    cpu = cpu_of(target)
    with target:
        module = channels_last(convert_onnx(network.model), cpu.activations)
        module = module if kind == FP32 else in_half_precision(module)
        module = rewritten(module, _in_wide_sums) if kind == WIDE else module
        module = scheduled(with_kernels(module, cpu, partial(default_tile, cpu=cpu)), cpu)
    compile_library(module, target, linker, path, {})
    return path


def _in_wide_sums(each: Call) -> Any:
    """Products of halves by the kernels of float32, and their sums rounded."""
    from tvm import relax

    if each.name not in (CONVOLUTION, "relax.matmul"):
        return None
    x, w = (each.emit(relax.op.astype(one, FLOAT)) if each.constant(one) is None else one for one in each.call.args)
    stored = each.constant(w)
    w = w if stored is None else relax.const(stored.astype(FLOAT))
    return relax.op.astype(each.emit(relax.Call(each.call.op, [x, w], each.call.attrs)), HALF)


def row_of(network: Network, kind: str, x_NHWC: Floats, y_NK: Floats, board: Board | None, folder: Path) -> Row:
    here = library_of(network, kind, host_target(), linker_for("x86_64-linux-gnu"), folder / "here.so")
    answers_NK = run_in_subprocess(here, x_NHWC, timeout_s=1200).outputs
    row: Row = {
        "genotype": str(network.genotype),
        "macs": network.macs,
        "kind": kind,
        "pictures": len(x_NHWC),
        "largest_difference": float(np.abs(answers_NK - y_NK).max()),
        "agreement": agreement(answers_NK, y_NK),
        "size_bytes": here.stat().st_size,
    }
    return row if board is None else row | {"board": _on_board(network, kind, board, x_NHWC, answers_NK, folder)}


def _on_board(network: Network, kind: str, board: Board, x_NHWC: Floats, y_NK: Floats, folder: Path) -> Row:
    device = load_device(board.device)
    there = library_of(network, kind, tvm_target(device), linker_for(device.triple), folder / "there.so")
    x, y = folder / "x.npy", folder / "y.npy"
    np.save(x, x_NHWC[:BOARD_PICTURES])
    with open_board(board) as session:
        session.outputs(there, x, y)
        executed = dict(session.count(there).executed)
    apart = float(np.abs(np.load(y) - y_NK[:BOARD_PICTURES]).max())
    return {"executed": executed, "largest_difference": apart, "size_bytes": there.stat().st_size}


def tables_of(rows: Sequence[Row]) -> list[Table]:
    by_network: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_network.setdefault(row["genotype"], {})[row["kind"]] = row
    lines = [
        (
            genotype,
            f"{found[FP32]['macs'] / 1e6:.1f}",
            *(f"{found[kind]['largest_difference']:.1e}" for kind in KINDS),
            *(f"{found[kind]['agreement']:.2%}" for kind in (FP16, WIDE)),
        )
        for genotype, found in by_network.items()
    ]
    both = ("same label", f"same label, {WIDE}")
    tables = [Table(f"Against torch, {rows[0]['pictures']} pictures", ("network", "MMACs", *KINDS, *both), lines)]
    if "board" in rows[0]:
        columns = ("network", *(f"{kind}, millions" for kind in KINDS), "fp16 / fp32", "bytes", "apart from here")
        tables.append(Table("On the board", columns, [_board_line(*each) for each in by_network.items()]))
    return tables


def _board_line(genotype: str, found: dict[str, Row]) -> tuple[str, ...]:
    on_board = {kind: found[kind]["board"] for kind in KINDS}
    executed = {kind: each["executed"]["total"] for kind, each in on_board.items()}
    return (
        genotype,
        *(f"{executed[kind] / 1e6:.2f}" for kind in KINDS),
        f"{executed[FP16] / executed[FP32]:.2f}",
        f"{on_board[FP16]['size_bytes'] / on_board[FP32]['size_bytes']:.2f}",
        f"{on_board[FP16]['largest_difference']:.1e}",
    )


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("-n", "--networks", type=int, default=NETWORKS)
    parser.add_argument("--board", help="an emulated one, of a device with arithmetic in half precision")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = open_model(options, needs_data=True)
    split = "test" if any(options.data.glob("test*.parquet")) else "validation"
    dataset = read_parquet(options.data, split, image_size=model.spec.image_size, labels=model.spec.labels)
    chosen = np.random.default_rng(options.seed).permutation(len(dataset.y_N))[:PICTURES]
    all_NHWC = (dataset.x_NCHW[chosen].transpose(0, 2, 3, 1) / np.float32(255)).astype(np.float32)
    board = None if options.board is None else load_board(options.board)
    rows = []
    for network in networks(model, options.networks, options.seed):
        x_NHWC = network.pictures(all_NHWC)
        y_NK = network.torch_answers(x_NHWC)
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(row_of(network, kind, x_NHWC, y_NK, board, Path(folder)))
            print(f"{network.genotype} {kind} {rows[-1]['largest_difference']:.1e}", file=sys.stderr, flush=True)
    name = "half_precision" if model.name == "signs43" else f"half_precision_{model.name}"
    publish(name, tables_of(rows), {"rows": rows}, options.output, model=model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
