"""Models on the emulated board: the same outputs as here, and exact counts of instructions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_clients import Board, adb, connect, on_board, python_of, qemu, run, scp, ssh
from exported_model import Exported

pytestmark = pytest.mark.hil

PROGRAM = Path(__file__).with_name("run_model.py")
CLASSES = ("load_store", "branch", "integer_immediate", "integer_register", "simd_fp", "other")
FP32_LANES = 4  # of an FMLA on whole registers


def run_here(model: Exported) -> dict[str, Any]:
    return dict(json.loads(run([sys.executable, PROGRAM, model.file, "1"]).stdout))


def run_over_ssh(board: Board, model: Exported, *, times: int = 1) -> dict[str, Any]:
    for file in (PROGRAM, model.file):
        scp(board, file, on_board(board, board["workspace"]))
    done = ssh(board, f"cd {board['workspace']}; {python_of(board)} {PROGRAM.name} {model.file.name} {times}")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def run_over_adb(board: Board, model: Exported) -> dict[str, Any]:
    connect(board)
    for file in (PROGRAM, model.file):
        adb(board, "push", file, f"{board['workspace']}/{file.name}")
    done = adb(board, "shell", f"cd {board['workspace']}; {python_of(board)} {PROGRAM.name} {model.file.name} 1")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def run_by_emulator(board: Board, model: Exported) -> dict[str, Any]:
    counts = Path(board["workspace"]) / "counts.jsonl"
    done = qemu(board, PROGRAM, model.file, "1", counts=counts)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_int8_outputs_are_those_of_this_machine_to_the_bit(boards: dict[str, Board], int8: Exported) -> None:
    here = run_here(int8)
    assert here["machine"] != "aarch64"
    for there in (
        run_over_ssh(boards["lab"], int8),
        run_over_adb(boards["lab-phone"], int8),
        run_by_emulator(boards["lab-qemu"], int8),
    ):
        assert there["machine"] == "aarch64"
        assert there["sha256"] == here["sha256"]
        assert len(there["counts"]) == 1


@pytest.fixture(scope="module")
def fp32_runs(boards: dict[str, Board], fp32: Exported) -> list[dict[str, Any]]:
    """Of five processes."""
    return [run_over_ssh(boards["lab"], fp32, times=3) for _ in range(5)]


def test_fp32_outputs_are_those_of_this_machine_but_for_rounding(
    fp32_runs: list[dict[str, Any]], fp32: Exported
) -> None:
    np.testing.assert_allclose(fp32_runs[0]["output"], run_here(fp32)["output"], atol=1e-6)


def test_every_process_counts_the_same(fp32_runs: list[dict[str, Any]]) -> None:
    first, *others = (run["counts"] for run in fp32_runs)
    assert [region["region"] for region in first] == [0, 1, 2]
    assert all(counts == first for counts in others)


def test_multiplications_of_an_fp32_model_are_counted_once_each(
    fp32_runs: list[dict[str, Any]], fp32: Exported
) -> None:
    for region in fp32_runs[0]["counts"]:
        assert FP32_LANES * region["fmla"] / fp32.macs == pytest.approx(1, abs=0.01)
        assert region["sdot"] == 0  # a Cortex-A72 has none


def test_every_instruction_is_of_one_class(fp32_runs: list[dict[str, Any]]) -> None:
    for region in fp32_runs[0]["counts"]:
        assert sum(region[name] for name in CLASSES) == region["total"]


def test_a_program_without_marks_writes_no_counts(boards: dict[str, Board]) -> None:
    assert ssh(boards["lab"], "test -e $EDGEKIT_COUNTS").returncode == 1
