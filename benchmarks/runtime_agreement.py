"""Random networks of `signs43` as files of three runtimes in two precisions, against torch and on an emulated board.

    python benchmarks/runtime_agreement.py [--quick] [-n NETWORKS] [-o RESULT.json]
    edgekit lab up --device rpi4 && python benchmarks/runtime_agreement.py --lab

fp32: the largest difference to torch, in units of its largest output. int8: for how many of the test pictures the file's first
label is that of torch in float32. Pictures that int8 is calibrated with are the supernet's synthesised ones, as in a build. With
`--lab` the same files answer some of the pictures on the board. Files and rows are kept in runs/, so that a second run goes on
where the first was ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import REPO_ROOT, Bar, Table, bars, open_model, options_of, publish
from runtime_files import DEVICE, FILES, KINDS, Floats, Network, NetworkFile, file_of, networks

from edgekit.assembler.training.data import read_parquet
from edgekit.core.fidelity import agreement, cosine
from edgekit.core.records import read_json, write_json
from edgekit.devices.boards.board import load_board
from edgekit.devices.boards.session import BoardSession, open_board
from edgekit.supernet.storage import SupernetFolder

NETWORKS, PICTURES, LAB_PICTURES, FEW_PICTURES = 20, 2000, 16, 500
RELATIVE_BAR, AGREEMENT_BAR, LAB_BAR, BUILD_BAR_S = 1e-4, 0.99, 1e-5, 60.0
_SCHEMA = 1
Row = dict[str, Any]


def kept(path: Path, make: Callable[[], Row]) -> Row:
    """The row of an earlier run, or a new one."""
    if path.is_file():
        return read_json(path, schema_version=_SCHEMA)
    row = {"schema_version": _SCHEMA} | make()
    write_json(path, row)
    return row


def host_row(network: Network, file: NetworkFile, x_NHWC: Floats, y_NK: Floats, labels_N: Any) -> Row:
    answers_NK = file.exporter.run(file.path, x_NHWC, timeout_s=1200).outputs
    return {
        "genotype": str(network.genotype),
        "macs": network.macs,
        "runtime": file.runtime,
        "precision": str(file.precision),
        "pictures": len(x_NHWC),
        "size_bytes": file.path.stat().st_size,
        "relative_difference": float(np.abs(answers_NK - y_NK).max() / np.abs(y_NK).max()),
        "cosine": cosine(answers_NK, y_NK),
        "agreement": agreement(answers_NK, y_NK),
        "accuracy": float(np.mean(answers_NK.argmax(1) == labels_N)),
        "accuracy_torch": float(np.mean(y_NK.argmax(1) == labels_N)),
    }


def lab_row(there: BoardSession, here: BoardSession, file: NetworkFile, x_NHWC: Floats) -> Row:
    """The file on the board, and what stands for it on this machine, in the types of the files."""
    with tempfile.TemporaryDirectory() as name:
        x, y_here, y_there = (Path(name) / f"{each}.npy" for each in ("x", "here", "there"))
        np.save(x, file.as_stored(x_NHWC))
        here.outputs(file.on_host, x, y_here)
        run = there.outputs(file.path, x, y_there)
        mine, theirs = np.load(y_here), np.load(y_there)
    return {
        "on": run.runtime,
        "pictures": len(x_NHWC),
        "dtype": mine.dtype.name,
        "differing": int((mine != theirs).sum()),
        "outputs": mine.size,
        "largest_difference": float(np.abs(mine.astype(np.float64) - theirs).max()),
    }


def build_seconds(folder: SupernetFolder, precision: str) -> dict[str, float]:
    """Of `edgekit build` for the full network and all labels, nothing cached: from start to end, and of processors.

    The first counts what else the machine does in that time; the second is what it takes where one core is free.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "labels.txt").write_text("".join(f'"{each.name}"\n' for each in folder.vocabulary.labels))
        argv = [sys.executable, "-m", "edgekit.cli.main", "build", "--task", f"@{place / 'labels.txt'}"]
        argv += ["--target", f"{DEVICE}:tvm{precision}", "--model", str(folder.path), "--genotype"]
        argv += [str(folder.spec.full), "-o", str(place / "out"), "--quiet"]
        own = {name: str(place / name) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        env = os.environ | own | {"PYTHONPATH": str(REPO_ROOT)}
        started, before = time.perf_counter(), os.times()
        subprocess.run(argv, check=True, env=env, stdout=subprocess.DEVNULL)
        wall_s, after = time.perf_counter() - started, os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return {"wall_s": wall_s, "processor_s": used}


def tables_of(rows: Sequence[Row], builds: Mapping[str, Mapping[str, float]]) -> tuple[list[Table], dict[str, Any]]:
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row["runtime"], row["precision"]), []).append(row)
    lines = [
        (
            " ".join(kind),
            len(found),
            f"{max(row['relative_difference'] for row in found):.1e}",
            f"{np.mean([row['agreement'] for row in found]):.2%}",
            f"{min(row['agreement'] for row in found):.2%}",
            sum(row["agreement"] >= AGREEMENT_BAR for row in found),
            f"{np.mean([row['accuracy'] for row in found]):.2%}",
            f"{np.mean([row['accuracy_torch'] for row in found]):.2%}",
        )
        for kind, found in kinds.items()
    ]
    columns = ("", "files", "difference", "same label", "worst", "above bar", "right", "in torch")
    tables = [Table(f"Against torch, {rows[0]['pictures']} test pictures", columns, lines)]
    fp32 = [row for row in rows if row["precision"] == "fp32"]
    int8 = [row for row in rows if row["precision"] == "int8"]
    relative, worst = max(row["relative_difference"] for row in fp32), min(row["agreement"] for row in int8)
    judged: list[Bar] = [
        ("fp32, largest difference", f"{relative:.1e}", f"at most {RELATIVE_BAR:.0e}", relative <= RELATIVE_BAR),
        ("int8, same label, worst file", f"{worst:.2%}", f"at least {AGREEMENT_BAR:.0%}", worst >= AGREEMENT_BAR),
        *(
            (
                f"build {DEVICE}:tvm{kind}, full network, processor time",
                f"{took['processor_s']:.0f} s ({took['wall_s']:.0f} s by the clock)",
                f"at most {BUILD_BAR_S:.0f} s",
                took["processor_s"] <= BUILD_BAR_S,
            )
            for kind, took in builds.items()
        ),
    ]
    if in_lab := [row for row in rows if "lab" in row]:
        tables.append(_lab_table(kinds))
        apart = max(row["lab"]["largest_difference"] for row in in_lab if row["precision"] == "fp32")
        integers = sum(row["lab"]["differing"] for row in in_lab if _is_bitwise(row))
        judged += [
            ("lab: loaded and run", f"{len(in_lab)} of {len(rows)}", "all", len(in_lab) == len(rows)),
            ("lab: fp32, largest difference", f"{apart:.1e}", f"at most {LAB_BAR:.0e}", apart <= LAB_BAR),
            ("lab: int8 TFLite, outputs that differ", str(integers), "none", integers == 0),
        ]
    figures = {"rows": list(rows), "build": dict(builds)}
    return [*tables, bars(*judged)], figures


def _is_bitwise(row: Row) -> bool:
    return bool(row["runtime"] == "tflite" and row["precision"] == "int8")


def _lab_table(kinds: Mapping[tuple[str, str], Sequence[Row]]) -> Table:
    lines = []
    for kind, rows in kinds.items():
        found = [row["lab"] for row in rows if "lab" in row]
        differing, outputs = (sum(lab[name] for lab in found) for name in ("differing", "outputs"))
        apart = max((lab["largest_difference"] for lab in found), default=0.0)
        runtime = found[0]["on"] if found else ""
        lines.append((" ".join(kind), runtime, len(found), f"{differing} of {outputs}", f"{apart:.1e}"))
    return Table(
        f"On the emulated board against this machine, {LAB_PICTURES} pictures a file",
        ("", "runtime", "files", "outputs that differ", "by at most"),
        lines,
    )


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("-n", "--networks", type=int, default=NETWORKS)
    parser.add_argument("--quick", action="store_true", help="two networks, few pictures; writes no record")
    parser.add_argument("--lab", action="store_true", help="also on the board `lab` of `edgekit lab up`")
    parser.add_argument("--work", type=Path, default=FILES, help="where files and rows are kept; default: runs/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = open_model(options, needs_data=True)
    dataset = read_parquet(options.data, "test", image_size=folder.spec.image_size, labels=folder.spec.labels)
    chosen = np.random.default_rng(options.seed).permutation(len(dataset.y_N))
    chosen = chosen[: FEW_PICTURES if options.quick else PICTURES]
    all_NHWC = (dataset.x_NCHW[chosen].transpose(0, 2, 3, 1) / np.float32(255)).astype(np.float32)
    rows = []
    suffix = "quick" if options.quick else "host"
    for network in networks(folder, 2 if options.quick else options.networks, options.seed):
        x_NHWC = network.pictures(all_NHWC)
        y_NK: Floats | None = None
        for kind in KINDS:
            file = file_of(network, *kind, options.work)
            if y_NK is None:
                y_NK = network.torch_answers(x_NHWC)
            answers_NK = y_NK
            row = kept(
                file.path.parent / f"{suffix}.json",
                lambda: host_row(network, file, x_NHWC, answers_NK, dataset.y_N[chosen]),  # noqa: B023 (called at once)
            )
            if options.lab:
                with open_board(load_board("lab")) as there, open_board(load_board("local")) as here:
                    row["lab"] = kept(
                        file.path.parent / "lab.json",
                        lambda: lab_row(there, here, file, x_NHWC[:LAB_PICTURES]),  # noqa: B023
                    )
            rows.append(row)
            print(f"{network.genotype} {kind[0]}-{kind[1]} {row['agreement']:.2%}", file=sys.stderr, flush=True)
    builds = {} if options.quick else {kind: build_seconds(folder, kind) for kind in ("", "-fp32")}
    tables, figures = tables_of(rows, builds)
    publish("runtime_agreement", tables, figures, options.output, model=folder, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
