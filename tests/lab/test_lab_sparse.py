"""Sparse weights on the emulated board, for whose processor XNNPACK has sparse kernels: outputs, and how much is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_clients import Board, qemu
from sparse_networks import pruned_network

from edgekit.exporters.sparse import sparsify

pytestmark = pytest.mark.hil

PROGRAM = Path(__file__).with_name("run_model.py")


@pytest.mark.parametrize(
    ("network", "most", "least"),
    [
        ({"zeros": 0.9}, 0.9, 0.0),
        ({"zeros": 0.9, "end": "grouped"}, 0.9, 0.0),
        ({"zeros": 0.6}, 1.01, 0.99),
        ({"zeros": 0.6, "inserted": "3x3"}, 1.01, 0.99),
        ({"zeros": 0.9, "stem_stride": 1}, 1.01, 0.99),
    ],
    ids=str,
)
def test_outputs_stay_and_less_is_executed_where_kernels_fit(
    boards: dict[str, Board], network: dict[str, Any], most: float, least: float, tmp_path: Path
) -> None:
    dense = pruned_network(**network)
    (y, executed), (z, sparse_executed) = (
        run(boards["lab-qemu"], content, tmp_path / name)
        for name, content in (("dense.tflite", dense), ("sparse.tflite", sparsify(dense)))
    )
    assert sparsify(dense) != dense
    np.testing.assert_allclose(z, y, atol=1e-5 * max(1, np.abs(y).max()))
    assert least <= sparse_executed / executed <= most


def run(board: Board, content: bytes, file: Path) -> tuple[np.ndarray, int]:
    """The output, and the instructions executed."""
    file.write_bytes(content)
    done = qemu(board, PROGRAM, file, "1", counts=file.with_suffix(".jsonl"))
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    return np.array(record["output"]), record["counts"][0]["total"]
