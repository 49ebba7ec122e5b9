"""The system's ssh against a real sshd: what works, and every way in which a board can fail."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from chain_files import write_chain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_sshd import Cable, Sshd, free_port

from edgekit.core.errors import BadInputError, BoardError, LostBoardError, UnstableError
from edgekit.core.records import sha256_of
from edgekit.devices.boards.board import SshBoard
from edgekit.devices.boards.session import BoardSession, open_board
from edgekit.devices.boards.ssh import SshTransport
from edgekit.devices.device import Protocol
from edgekit.exporters.runner import run_in_subprocess

pytestmark = [pytest.mark.hil, pytest.mark.usefixtures("no_process_left")]
Describe = Callable[..., SshBoard]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_chain(tmp_path / "net.tflite", size=24, channels=(3, 16, 16))


def test_a_board_tells_what_it_is(board: Describe) -> None:
    with open_board(board()) as session:
        facts = session.facts()
    assert facts.machine in ("x86_64", "aarch64")
    assert facts.cores >= 1
    assert facts.ram_bytes > 1 << 28
    assert facts.runtime.startswith("ai-edge-litert 2.")
    assert facts.signs_of_emulation == ()


def test_outputs_of_the_board_are_those_of_this_machine(board: Describe, file: Path, tmp_path: Path) -> None:
    x_NHWC = np.random.default_rng(0).random((3, 24, 24, 3), np.float32)
    np.save(tmp_path / "x.npy", x_NHWC)
    with open_board(board()) as session:
        run = session.outputs(file, tmp_path / "x.npy", tmp_path / "y.npy")
    assert run.sha256 == sha256_of(file)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), run_in_subprocess(file, x_NHWC).outputs)


def test_a_measurement_is_steady_or_refused(board: Describe, file: Path) -> None:
    with open_board(board()) as session, suppress(UnstableError):
        run = session.measure(file, Protocol(threads=1, runs=20, warmup_runs_max=200), seconds=3)
        assert run.timed.runs == 20
        assert 0 < run.timed.least_ms <= run.timed.median_ms <= run.timed.high_ms
        assert run.peak_rss_bytes is not None
        assert run.peak_rss_bytes > 10 << 20


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=4))
def test_arguments_arrive_as_they_are(board: Describe, arguments: list[str]) -> None:
    transport = SshTransport(board())
    try:
        show = "import sys; sys.stdout.buffer.write(repr(sys.argv[1:]).encode())"
        done = transport.exec([sys.executable, "-c", show, *arguments], timeout_s=20)
    finally:
        transport.close()
    assert done.stdout == repr(arguments)


def test_exit_codes_come_through(board: Describe) -> None:
    transport = SshTransport(board())
    try:
        assert transport.exec(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout_s=10).code == 7
    finally:
        transport.close()


def test_a_wrong_host_key_is_refused_at_once(board: Describe, tmp_path: Path, sshd: Sshd) -> None:
    other = Path(sshd.identity_file + ".pub").read_text().split()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other[0]} {other[1]}\n")
    started = time.monotonic()
    with (
        pytest.raises(BoardError, match="host key of pi") as raised,
        open_board(board(known_hosts_file=str(tmp_path / "known_hosts"))) as session,
    ):
        session.facts()
    assert not isinstance(raised.value, LostBoardError)
    assert "ssh-keygen -R" in raised.value.hint
    assert time.monotonic() - started < 5


def test_an_unknown_host_key_is_refused(board: Describe, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    unknown = board(known_hosts_file=str(tmp_path / "known_hosts"))
    with pytest.raises(BoardError, match="host key of pi"), open_board(unknown) as session:
        session.facts()


def test_a_key_that_the_board_does_not_know_is_refused(board: Describe, tmp_path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "stranger")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    stranger = board(identity_file=str(tmp_path / "stranger"))
    with pytest.raises(BoardError, match="refuses the login") as raised, open_board(stranger) as session:
        session.facts()
    assert "ssh-copy-id" in raised.value.hint


def test_a_board_that_does_not_answer_is_given_up_after_three_tries(board: Describe) -> None:
    silent = board(port=free_port())
    with pytest.raises(LostBoardError, match="does not answer") as raised, open_board(silent) as session:
        session.facts()
    assert "refused" in raised.value.message


def test_a_board_lost_for_a_moment_is_asked_again(board: Describe, sshd: Sshd, file: Path) -> None:
    cable = Cable(sshd.port)
    known = Path(sshd.known_hosts_file).read_text().replace(f":{sshd.port} ", f":{cable.port} ")
    hosts = file.with_name("known_hosts")
    hosts.write_text(known)
    try:
        with open_board(board(port=cable.port, known_hosts_file=str(hosts))) as session:
            session.facts()
            timer = threading.Timer(0.3, lambda: (cable.cut(), cable.mend()))
            timer.start()
            run = _outputs(session, file)
            timer.join()
            assert run.sha256 == sha256_of(file)
    finally:
        cable.close()


def test_a_board_lost_for_good_is_given_up_and_leaves_nothing(board: Describe, sshd: Sshd, file: Path) -> None:
    cable = Cable(sshd.port)
    hosts = file.with_name("known_hosts")
    hosts.write_text(Path(sshd.known_hosts_file).read_text().replace(f":{sshd.port} ", f":{cable.port} "))
    lost = board(port=cable.port, known_hosts_file=str(hosts))
    with open_board(lost) as session:
        session.facts()
        cable.close()
        with pytest.raises(LostBoardError):
            _outputs(session, file)
    with open_board(board()) as session:  # the lock is free
        session.facts()


def test_a_hanging_command_is_ended_on_the_board_too(board: Describe, tmp_path: Path) -> None:
    transport = SshTransport(board())
    sleep = [sys.executable, "-c", f"import time; time.sleep(600)  # {tmp_path}"]
    started = time.monotonic()
    try:
        with pytest.raises(BoardError, match="did not end within 1 s"):
            transport.exec(sleep, timeout_s=1)
    finally:
        transport.close()
    assert time.monotonic() - started < 8


def test_a_full_disk_is_named(board: Describe, file: Path, tmp_path: Path) -> None:
    """/dev/full refuses every byte, as a full disk does."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / f"{sha256_of(file)[:16]}.tflite.part").symlink_to("/dev/full")
    with pytest.raises(BoardError, match="cannot be written to") as raised, open_board(board()) as session:
        _outputs(session, file)
    assert "free some space" in raised.value.hint
    assert not isinstance(raised.value, LostBoardError)


def test_a_throttled_board_is_refused(board: Describe, file: Path, tmp_path: Path) -> None:
    firmware = tmp_path / "bin" / "vcgencmd"
    firmware.parent.mkdir()
    firmware.write_text("#!/bin/sh\necho throttled=0x50005\n")
    firmware.chmod(0o755)
    throttled = board(env={"PATH": f"{firmware.parent}:/usr/bin:/bin"})
    with pytest.raises(UnstableError, match="throttled before the runs") as raised, open_board(throttled) as session:
        session.measure(file, Protocol(threads=1, runs=5), seconds=1)
    assert "0x50005" in raised.value.message
    assert "supply" in raised.value.hint


def test_a_board_without_the_runtime_says_what_to_install(board: Describe, file: Path) -> None:
    bare = board(python=(sys.executable, "-S"))
    with pytest.raises(BoardError, match=r"run_model\.py failed on pi") as raised, open_board(bare) as session:
        _outputs(session, file)
    assert "ai-edge-litert must be installed" in raised.value.hint


def test_inputs_of_another_shape_are_refused(board: Describe, file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8, 3), np.float32))
    with (
        pytest.raises(BadInputError, match=r"takes inputs of shapes \[\[1, 24, 24, 3\]\]"),
        open_board(board()) as session,
    ):
        session.outputs(file, tmp_path / "x.npy", tmp_path / "y.npy")


def test_a_slow_model_is_still_measured(board: Describe, file: Path) -> None:
    """In a tenth of the time that ten runs take."""
    with open_board(board()) as session, suppress(UnstableError):
        run = session.measure(file, Protocol(threads=1, runs=50), seconds=1e-4)
        assert run.timed.runs >= 10


def test_a_login_that_talks_is_named(board: Describe) -> None:
    talking = board(python=("/bin/echo", "Welcome!"))
    with pytest.raises(BoardError, match="gave an answer that cannot be read"), open_board(talking) as session:
        session.facts()


def _outputs(session: BoardSession, file: Path):
    x = file.with_name("x.npy")
    np.save(x, np.zeros((1, 24, 24, 3), np.float32))
    return session.outputs(file, x, file.with_name("y.npy"), limit_s=60)
