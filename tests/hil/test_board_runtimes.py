"""One small network on a board by each of the three runtimes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from network_files import MACS, SUFFIXES, inputs, outputs_of_torch, write_network

from edgekit.core.errors import BadInputError, BoardError
from edgekit.core.quantity import Evidence
from edgekit.devices.boards.board import load_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.device import Protocol
from edgekit.exporters.runner import run_in_subprocess
from edgekit.pipeline.profile import profile

pytestmark = pytest.mark.hil
RUNTIMES = {".tflite": "ai-edge-litert ", ".onnx": "onnxruntime ", ".so": "apache-tvm "}
LANES = 4  # float32 numbers in a register
Network = Callable[..., Path]


@pytest.fixture(autouse=True)
def lab(lab_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, lab_environment[name])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The file of a runtime, for this machine or for the board; made once."""
    folder = tmp_path_factory.mktemp("network")

    def written(suffix: str, *, board: bool = False) -> Path:
        path = folder / f"{'board' if board else 'host'}{suffix}"
        return path if path.exists() else write_network(path, board=board)

    return written


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_outputs_are_those_of_this_machine(network: Network, suffix: str, tmp_path: Path) -> None:
    x = inputs(suffix)
    np.save(tmp_path / "x.npy", x)
    with open_board(load_board("lab")) as session:
        run = session.outputs(network(suffix, board=True), tmp_path / "x.npy", tmp_path / "y.npy")
    assert run.runtime.startswith(RUNTIMES[suffix])
    y = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(y, run_in_subprocess(network(suffix), x).outputs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(y, outputs_of_torch(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_instructions_are_counted_whole_and_the_same_each_time(network: Network, suffix: str) -> None:
    with open_board(load_board("lab-qemu")) as session:
        first, again = (session.count(network(suffix, board=True)) for _ in range(2))
    assert first.executed == again.executed
    assert first.runtime.startswith(RUNTIMES[suffix])
    if suffix == ".so":  # without tuning it multiplies and adds in two instructions
        assert 2 * MACS <= LANES * first.executed["simd_fp"] <= 4 * MACS
    else:
        assert LANES * first.executed["fmla"] == pytest.approx(MACS, rel=0.02)


def test_a_profile_counts_an_onnx_file(network: Network) -> None:
    shown = {figure.name: figure.quantity for figure in profile(network(".onnx"), board="lab-qemu").figures}
    assert shown["latency"].evidence is Evidence.PREDICTED
    assert shown["MACs"].value == MACS
    total = shown["instructions, total"]
    assert total.evidence is Evidence.EMULATED
    assert "onnxruntime" in total.source


def test_a_library_that_the_board_cannot_run_is_refused_in_a_sentence(network: Network, tmp_path: Path) -> None:
    whole = network(".so", board=True).read_bytes()
    short, broken = tmp_path / "short.so", tmp_path / "broken.so"
    short.write_bytes(whole[:-1])
    broken.write_bytes(whole[:0x1000] + bytes(0x4000) + whole[0x5000:])
    with open_board(load_board("lab")) as session:
        for path, reason in (
            (network(".so"), "was refused on lab: it was compiled for x86_64, not for aarch64"),
            (short, "was refused on lab: it is incomplete"),
            (broken, r"crashed the program that ran it on lab \(SIG"),
        ):
            with pytest.raises(BadInputError, match=reason) as raised:
                session.count(path)
            assert "Traceback" not in raised.value.message


def test_a_phone_without_python_runs_tflite_files_alone(network: Network, tmp_path: Path) -> None:
    phone = replace(load_board("lab-phone"), benchmark_model=str(tmp_path / "benchmark_model"), emulated=False)
    with open_board(phone) as session, pytest.raises(BoardError, match=r"lab-phone runs only \.tflite files"):
        session.measure(network(".onnx"), Protocol(), seconds=1)
