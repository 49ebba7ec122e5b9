"""This machine as a board of all three runtimes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from network_files import SUFFIXES, inputs, outputs_of_torch, write_network

from edgekit.core.errors import BadInputError, BoardError, UnstableError
from edgekit.core.quantity import Evidence
from edgekit.devices.boards.board import LocalBoard, load_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.device import Protocol

RUNTIMES = {".tflite": "ai-edge-litert ", ".onnx": "onnxruntime ", ".so": "apache-tvm "}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBoard:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    python = load_board("local").python
    return LocalBoard(name="local", device="host", workspace=str(tmp_path / "board"), python=python)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_is_run_and_timed_by_its_own_runtime(board: LocalBoard, suffix: str, tmp_path: Path) -> None:
    path = write_network(tmp_path / f"model{suffix}")
    np.save(tmp_path / "x.npy", inputs(suffix))
    with open_board(board) as session:
        run = session.outputs(path, tmp_path / "x.npy", tmp_path / "y.npy")
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), outputs_of_torch(), rtol=0, atol=1e-5)
        assert run.runtime.startswith(RUNTIMES[suffix])
        with suppress(UnstableError):
            latency = session.measure(path, Protocol(threads=2, runs=20), seconds=0.2).latency("local")
            assert latency.evidence is Evidence.MEASURED
            assert RUNTIMES[suffix] in latency.source


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_no_runtime_reads_is_refused_in_a_sentence(board: LocalBoard, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"model" * 100)
    with open_board(board) as session, pytest.raises(BadInputError, match=r"was refused on local: it ") as raised:
        session.count(path)
    assert "\n" not in raised.value.message


def test_a_file_of_no_runtime_is_refused(board: LocalBoard, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"model")
    with open_board(board) as session, pytest.raises(BadInputError, match="not a model file that boards run"):
        session.count(tmp_path / "model.pt")


def test_a_board_without_the_runtime_says_what_to_install(board: LocalBoard, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "onnxruntime.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'onnxruntime'\")\n"
    )
    bare = LocalBoard(
        name="local",
        device="host",
        workspace=board.workspace,
        python=board.python,
        env={"PYTHONPATH": str(tmp_path / "hidden")},
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    with open_board(bare) as session, pytest.raises(BoardError, match="No module named 'onnxruntime'") as raised:
        session.count(path)
    assert "onnxruntime must be installed there" in raised.value.hint
