"""`edgekit lab`: up, status, down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from board_clients import ssh

from edgekit.core.errors import ExitCode

COMMAND = (sys.executable, "-m", "edgekit.cli.main", "lab")


class User:
    """Somebody with a configuration and a state of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.boards_file = home / "config/edgekit/boards.d/lab.toml"

    def lab(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        folders = {"XDG_CONFIG_HOME": f"{self.home}/config", "XDG_STATE_HOME": f"{self.home}/state"}
        return subprocess.run(
            [*COMMAND, *arguments],
            env=os.environ | folders | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def lab_json(self, *arguments: str) -> dict[str, Any]:
        done = self.lab(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def files(self) -> list[Path]:
        return [path for path in self.home.rglob("*") if not path.is_dir()]


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    somebody = User(tmp_path)
    yield somebody
    somebody.lab("down")


def processes_of(home: Path) -> list[str]:
    """The command lines that name a folder, or run on a board that lies in it."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if str(home) in line:
            lines.append(line)
    return lines


@pytest.mark.hil
def test_up_twice_keeps_the_lab_that_is_up(user: User) -> None:
    first = user.lab_json("up", "--device", "rpi4")
    assert first["lab"]["boards"] == ["lab", "lab-phone", "lab-qemu"]
    assert user.lab_json("up", "--device", "raspberry pi 4") == first
    assert user.lab_json("status") == first


@pytest.mark.hil
def test_down_leaves_no_process_no_file_and_no_board(user: User) -> None:
    up = user.lab_json("up", "--device", "rpi4")
    board = tomllib.loads(user.boards_file.read_text())["boards"]["lab"]
    assert user.boards_file.stat().st_mode & 0o777 == 0o600
    left_running = f"{sys.executable.rpartition('/')[2]} {user.home}"
    ssh(board, f"/bin/sh -c 'sleep 1000; : {left_running}' > /dev/null 2>&1 < /dev/null & sleep 0.5")
    assert any("sleep 1000" in line for line in processes_of(user.home))

    assert user.lab_json("down") == {"ended": True}
    assert processes_of(user.home) == []
    assert user.files() == []
    for server in up["lab"]["servers"]:
        assert not Path(f"/proc/{server['pid']}/exe").exists()
    assert user.lab_json("status") == {"lab": None}
    assert user.lab_json("down") == {"ended": False}


@pytest.mark.hil
def test_a_lab_that_has_lost_a_server_is_made_anew(user: User) -> None:
    first = user.lab_json("up", "--device", "rpi4")["lab"]
    os.kill(first["servers"][0]["pid"], signal.SIGKILL)
    broken = user.lab_json("status")["lab"]
    assert broken["boards"] == []
    assert [server["alive"] for server in broken["servers"]] == [False, True, True]
    second = user.lab_json("up", "--device", "rpi4")["lab"]
    assert all(server["alive"] for server in second["servers"])
    assert {server["pid"] for server in second["servers"]}.isdisjoint(server["pid"] for server in first["servers"])


@pytest.mark.hil
def test_one_lab_is_one_device(user: User) -> None:
    user.lab_json("up", "--device", "rpi4")
    refused = user.lab("up", "--device", "rk3399")
    assert refused.returncode == ExitCode.USAGE
    assert "edgekit lab down" in refused.stderr


@pytest.mark.hil
def test_a_lab_that_cannot_start_leaves_nothing(user: User, tmp_path: Path) -> None:
    # An sshd that ends at once.
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sshd").symlink_to("/bin/false")
    refused = user.lab("up", "--device", "rpi4", PATH=f"{programs}:{os.environ['PATH']}")
    assert refused.returncode == ExitCode.BOARD
    assert "sshd does not answer" in refused.stderr
    assert user.files() == [programs / "sshd"]


def test_down_and_status_without_a_lab(user: User) -> None:
    assert "there was no lab" in user.lab("down").stdout
    assert "the lab is not up" in user.lab("status").stdout


def test_a_machine_without_the_programs_is_told_what_to_install(user: User) -> None:
    refused = user.lab("up", "--device", "rpi4", PATH="/nowhere")
    assert refused.returncode == ExitCode.MISSING_EXTRA
    assert "qemu-aarch64" in refused.stderr
    assert "apt-get install --no-install-recommends" in refused.stderr
    assert "qemu-user" in refused.stderr
    assert user.files() == []


def test_a_core_that_qemu_does_not_have_is_refused(user: User) -> None:
    refused = user.lab("up", "--device", "jetson-xavier-cpu")
    assert refused.returncode == ExitCode.USAGE
    assert "carmel" in refused.stderr
    assert "cortex-a72" in refused.stderr
