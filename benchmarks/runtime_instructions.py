"""Instructions that one inference executes on an emulated Cortex-A72: three runtimes, two precisions, the same networks.

    edgekit lab up --device rpi4
    python benchmarks/runtime_instructions.py [--board lab] [-n NETWORKS] [-o RESULT.json]

One thread. Networks and files are the first of benchmarks/runtime_agreement.py. Instructions are no time: what they wait for is not
counted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Table, open_model, options_of, publish
from runtime_agreement import kept
from runtime_files import FILES, KINDS, Network, file_of, networks

from edgekit.devices.boards.board import load_board
from edgekit.devices.boards.session import open_board

NETWORKS = 5
Row = dict[str, Any]


def tables_of(rows: Sequence[Row]) -> list[Table]:
    by_network: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_network.setdefault(row["genotype"], {})[f"{row['runtime']} {row['precision']}"] = row
    kinds = [f"{runtime} {precision}" for runtime, precision in KINDS]
    millions = [
        (
            genotype,
            f"{found[kinds[0]]['macs'] / 1e6:.2f}",
            *(f"{found[kind]['executed']['total'] / 1e6:.2f}" for kind in kinds),
        )
        for genotype, found in by_network.items()
    ]
    ratios = [
        (
            kind,
            *(
                f"{found[kind]['executed']['total'] / found[f'tflite {kind.split()[1]}']['executed']['total']:.2f}"
                for found in by_network.values()
            ),
            f"{_geometric_mean(kind, by_network.values()):.2f}",
        )
        for kind in kinds
    ]
    return [
        Table("Millions of instructions an inference", ("network", "MMACs", *kinds), millions),
        Table("Over TFLite's in the same precision", ("", *by_network, "mean"), ratios),
    ]


def _geometric_mean(kind: str, networks: Any) -> float:
    reference = f"tflite {kind.split()[1]}"
    logs = [np.log(found[kind]["executed"]["total"] / found[reference]["executed"]["total"]) for found in networks]
    return float(np.exp(np.mean(logs)))


def row_of(board: str, network: Network, kind: Any, files: Path) -> Row:
    file = file_of(network, *kind, files)
    with open_board(load_board(board)) as session:
        run = session.count(file.path)
    return {
        "genotype": str(network.genotype),
        "macs": network.macs,
        "runtime": file.runtime,
        "precision": str(file.precision),
        "on": run.runtime,
        "executed": dict(run.executed),
    }


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("-n", "--networks", type=int, default=NETWORKS)
    parser.add_argument("--board", default="lab")
    parser.add_argument("--work", type=Path, default=FILES, help="where files and rows are kept; default: runs/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = open_model(options)
    rows = []
    for network in networks(folder, options.networks, options.seed):
        for kind in KINDS:
            place = options.work / f"{network.genotype}-{kind[0]}-{kind[1]}" / "instructions.json"
            row = kept(place, lambda: row_of(options.board, network, kind, options.work))  # noqa: B023 (called at once)
            rows.append(row)
            print(f"{place.parent.name} {row['executed']['total']:,}", file=sys.stderr, flush=True)
    publish("runtime_instructions", tables_of(rows), {"rows": rows}, options.output, model=folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
