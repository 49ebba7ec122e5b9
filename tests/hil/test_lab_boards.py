"""The same sessions on emulated boards: over ssh, over adb, and through the emulator."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from chain_files import write_chain
from edgekit_command import COMMAND, ENVIRONMENT
from real_sshd import free_port

from edgekit.core.errors import BoardError, ExitCode, LostBoardError
from edgekit.core.quantity import Evidence
from edgekit.devices.boards.board import load_board
from edgekit.devices.boards.facts import check_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.device import Protocol, load_device
from edgekit.pipeline.on_board import probe
from edgekit.pipeline.profile import profile

pytestmark = pytest.mark.hil
WAYS = ("lab", "lab-phone", "lab-qemu")


@pytest.fixture(autouse=True)
def lab(lab_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, lab_environment[name])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chain(tmp_path_factory.mktemp("net") / "net.tflite", size=24, channels=(3, 16, 16))


@pytest.mark.parametrize("way", WAYS)
def test_an_emulated_board_says_that_it_is_one(way: str) -> None:
    facts = probe(way)
    assert facts.machine == "aarch64"
    assert facts.cpus == ("cortex-a72",)
    assert any("qemu" in sign for sign in facts.signs_of_emulation)


@pytest.mark.parametrize("way", WAYS)
def test_an_emulated_board_offered_as_a_real_one_is_refused(way: str, tmp_path: Path) -> None:
    """By its programs, whatever its description and its files of the system say."""
    board = load_board(way)
    with open_board(board) as session:
        facts = session.facts()
        with pytest.raises(BoardError, match="emulated"):
            session.measure(tmp_path / "any.tflite", Protocol(), seconds=1)
    silent = replace(facts, signs_of_emulation=tuple(sign for sign in facts.signs_of_emulation if "itself" not in sign))
    assert silent.signs_of_emulation
    if way == "lab-qemu":  # such a board cannot even be described as a real one
        with pytest.raises(ValueError, match="not a real board"):
            replace(board, emulated=False)
        return
    with pytest.raises(BoardError, match="is described as a real rpi4") as raised:
        check_board(replace(board, emulated=False), silent, load_device("rpi4"))
    assert "not a latency" in raised.value.hint


@pytest.mark.parametrize("way", WAYS)
def test_another_board_than_it_is_said_to_be_is_refused(way: str) -> None:
    with open_board(load_board(way)) as session, pytest.raises(BoardError, match="cortex-a72, rpi5 has cortex-a76"):
        check_board(session.board, session.facts(), load_device("rpi5"))


@pytest.mark.parametrize("way", WAYS)
def test_a_profile_counts_instructions_and_keeps_the_prediction(way: str, file: Path) -> None:
    shown = {figure.name: figure.quantity for figure in profile(file, board=way).figures}
    assert shown["latency"].evidence is Evidence.PREDICTED
    total = shown["instructions, total"]
    assert (total.evidence, total.unit) == (Evidence.EMULATED, "instructions")
    macs = 24 * 24 * 9 * (3 * 16 + 16 * 16)
    assert 4 * shown["instructions, fmla"].value == pytest.approx(macs, rel=0.05)
    assert not [quantity for quantity in shown.values() if quantity.unit == "ms" and quantity is not shown["latency"]]


@pytest.mark.parametrize("way", WAYS)
def test_outputs_come_back(way: str, file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((2, 24, 24, 3), np.float32))
    with open_board(load_board(way)) as session:
        session.outputs(file, tmp_path / "x.npy", tmp_path / "y.npy")
    assert np.load(tmp_path / "y.npy").shape == (2, 24, 24, 16)


def test_the_command_refuses_an_emulated_board_that_is_said_to_be_real(
    lab_environment: dict[str, str], boards: dict[str, dict[str, object]], tmp_path: Path, file: Path
) -> None:
    (tmp_path / "edgekit").mkdir()
    real = {"boards": {"pi": boards["lab"] | {"emulated": False}}}
    (tmp_path / "edgekit" / "boards.toml").write_text(tomli_w.dumps(real))
    done = subprocess.run(
        [*COMMAND, "profile", str(file), "--board", "pi"],
        env=ENVIRONMENT | lab_environment | {"XDG_CONFIG_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ExitCode.BOARD
    assert "described as a real rpi4" in done.stderr


def test_a_users_hardware_test_runs_on_an_emulated_board(pytester: pytest.Pytester, file: Path) -> None:
    pytester.makepyfile(
        test_hardware=f"""
        import numpy as np
        import pytest

        NET = {str(file)!r}

        def test_instructions(board):
            board.assert_instructions(NET, at_most=10_000_000)
            with pytest.raises(AssertionError, match="at most 1,000"):
                board.assert_instructions(NET, at_most=1000)

        def test_latency(board):
            board.assert_latency(NET, at_most_ms=1)

        def test_no_slower_than_itself(board):
            board.assert_no_slower(NET, NET, by=0.0)

        def test_outputs(board):
            x = np.random.default_rng(0).random((2, 24, 24, 3), np.float32)
            board.assert_agreement(NET, x, at_least=1.0)
        """
    )
    result = pytester.runpytest_subprocess("--edgekit-board", "lab-qemu", "-rs")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["*lab-qemu is emulated: its times are no latencies*"])


def test_a_phone_without_python_is_asked_by_its_shell_and_timed_by_tflites_program(file: Path, tmp_path: Path) -> None:
    """The program is a stand-in that prints a recorded answer: Android's runs on no machine at hand."""
    sample = Path(__file__).parents[1] / "devices" / "boards" / "benchmark_model.txt"
    program = tmp_path / "benchmark_model"
    program.write_text(f"#!/bin/sh\necho \"$@\" >&2\ncat <<'END'\n{sample.read_text()}\nEND\n")
    phone = replace(load_board("lab-phone"), python=("/no/python",), benchmark_model=str(program))
    with open_board(phone) as session:
        facts = session.facts()
        assert (facts.machine, facts.cpus) == ("aarch64", ("cortex-a72",))
        assert any("qemu" in sign for sign in facts.signs_of_emulation)
        assert facts.free_bytes > 0
        with pytest.raises(BoardError, match="runs no Python"):
            session.count(file)
        with pytest.raises(BoardError, match="emulated"):
            session.measure(file, Protocol(), seconds=1)
    # What would be timed is said to be real here, to see the way that a real phone takes.
    with open_board(replace(phone, emulated=False)) as session:
        run = session.measure(file, Protocol(threads=4), seconds=1)
    assert run.timed.median_ms == 8.163
    assert run.settled
    assert run.runtime.startswith("benchmark_model ")
    assert run.peak_rss_bytes is None
    assert "p95 8.29 ms" in run.latency("phone").source


def test_a_program_that_fails_on_the_phone_is_named(file: Path, tmp_path: Path) -> None:
    program = tmp_path / "benchmark_model"
    program.write_text("#!/bin/sh\necho Failed to load model\nexit 1\n")
    phone = replace(load_board("lab-phone"), benchmark_model=str(program), emulated=False)
    with open_board(phone) as session, pytest.raises(BoardError, match="Failed to load model"):
        session.measure(file, Protocol(), seconds=1)


def test_a_phone_that_is_not_there_does_not_answer() -> None:
    """Its server is not up yet, and tells that it starts before it tells what is wrong."""
    absent = replace(load_board("lab-phone"), serial="no-such-phone", adb_server_port=free_port())
    with open_board(absent) as session, pytest.raises(LostBoardError, match=r"does not answer: .*not found"):
        session.facts()
