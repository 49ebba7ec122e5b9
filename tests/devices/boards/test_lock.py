"""Two jobs never share a board."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.core.errors import BoardError
from edgekit.devices.boards.board import LocalBoard, SshBoard
from edgekit.devices.boards.lock import locked

BOARD = LocalBoard(name="local", device="host", workspace="/tmp/edgekit")  # noqa: S108 (nothing is written)
HOLD = """
import sys, time
from edgekit.devices.boards.board import LocalBoard
from edgekit.devices.boards.lock import locked
with locked(LocalBoard(name="other-name", device="host", workspace="elsewhere"), wait_s=0):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def holder() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_board_in_use_is_refused_and_its_user_named(holder: subprocess.Popen[str]) -> None:
    with pytest.raises(BoardError, match=f"in use by process {holder.pid}"), locked(BOARD, wait_s=0):
        pass
    other = SshBoard(name="pi", device="rpi4", workspace="/w", host="pi")
    with locked(other, wait_s=0):
        pass


def test_who_waits_gets_the_board_when_its_user_is_killed(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    with locked(BOARD, wait_s=30):  # its user would have kept it for twice as long
        pass


def test_a_board_is_free_after_an_error() -> None:
    with pytest.raises(RuntimeError), locked(BOARD, wait_s=0):
        raise RuntimeError
    with locked(BOARD, wait_s=0):
        pass
