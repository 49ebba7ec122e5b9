"""The emulated board over ssh: what a user of a real one would notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from board_clients import Board, on_board, python_of, run, scp, ssh

pytestmark = pytest.mark.hil

UNREACHABLE = 255


@pytest.fixture
def board(boards: dict[str, Board]) -> Board:
    return boards["lab"]


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    return path


def test_it_is_an_aarch64_machine_that_says_it_is_emulated(board: Board) -> None:
    assert ssh(board, "uname -m").stdout == b"aarch64\n"
    cpuinfo = ssh(board, "cat /proc/cpuinfo").stdout.decode()
    assert "EMULATED" in cpuinfo
    assert cpuinfo.count("0xd08") == 4  # Cortex-A72
    assert b"EMULATED" in ssh(board, "cat /sys/firmware/devicetree/base/model").stdout


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_codes_come_through(board: Board, code: int) -> None:
    assert ssh(board, f"exit {code}").returncode == code


def test_a_signal_ends_a_program_as_on_any_machine(board: Board) -> None:
    crash = f"{python_of(board)} -c 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'"
    assert ssh(board, f"{crash}; echo $?").stdout == b"139\n"
    assert ssh(board, "kill -KILL $$").returncode == UNREACHABLE


def test_streams_come_through_as_they_are(board: Board, content: Path) -> None:
    echoed = ssh(board, "cat; echo done >&2", content=content.read_bytes())
    assert echoed.stdout == content.read_bytes()
    assert echoed.stderr.endswith(b"done\n")


def test_files_go_both_ways(board: Board, content: Path, tmp_path: Path) -> None:
    path = f"{board['workspace']}/content"
    assert scp(board, content, on_board(board, path)).returncode == 0
    assert ssh(board, f"cat {path}").stdout == content.read_bytes()
    assert scp(board, on_board(board, path), tmp_path / "back").returncode == 0
    assert (tmp_path / "back").read_bytes() == content.read_bytes()


def test_what_one_command_writes_the_next_one_finds(board: Board) -> None:
    ssh(board, "echo kept > /tmp/note; echo kept > note")
    assert ssh(board, "cat /tmp/note note").stdout == b"kept\nkept\n"


def test_the_system_of_the_board_cannot_be_changed(board: Board) -> None:
    assert b"Read-only" in ssh(board, "echo > /usr/bin/new").stderr


def test_the_disks_of_this_machine_are_not_there(board: Board) -> None:
    devices = set(ssh(board, "ls /dev").stdout.decode().split())
    assert {"null", "urandom"} <= devices
    assert not any(name.startswith(("sd", "vd", "nvme", "mem")) for name in devices)


def test_another_host_key_is_refused(board: Board, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger])
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{board['port']} {stranger.with_suffix('.pub').read_text()}")
    refused = ssh(board, "uname -m", UserKnownHostsFile=str(known))
    assert refused.returncode == UNREACHABLE
    assert refused.stdout == b""
    assert b"Host key verification failed" in refused.stderr


def test_another_key_is_not_let_in(board: Board, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger])
    refused = ssh(board, "uname -m", IdentityFile=str(stranger))
    assert refused.returncode == UNREACHABLE
    assert b"Permission denied (publickey)" in refused.stderr


def test_nobody_else_can_read_the_key(board: Board) -> None:
    assert Path(board["identity_file"]).stat().st_mode & 0o077 == 0
