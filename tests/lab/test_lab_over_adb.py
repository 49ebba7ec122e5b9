"""The emulated board over adb, through the real client."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from board_clients import Board, adb, adb_environment, connect

pytestmark = pytest.mark.hil


@pytest.fixture
def board(boards: dict[str, Board]) -> Board:
    connect(boards["lab-phone"])
    return boards["lab-phone"]


def test_the_adb_server_is_not_that_of_real_phones(board: Board) -> None:
    assert board["adb_server_port"] not in {5037, *range(5554, 5586)}
    assert f"{board['serial']}\tdevice".encode() in adb(board, "devices").stdout


def test_commands_run_on_an_emulated_aarch64_machine(board: Board) -> None:
    assert adb(board, "shell", "uname -m").stdout == b"aarch64\n"
    assert b"EMULATED" in adb(board, "shell", "cat /proc/cpuinfo").stdout


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_codes_come_through(board: Board, code: int) -> None:
    assert adb(board, "shell", f"exit {code}").returncode == code


def test_streams_come_through_apart(board: Board) -> None:
    done = adb(board, "shell", "cat; echo error >&2", content=b"typed\n")
    assert (done.stdout, done.stderr) == (b"typed\n", b"error\n")


def test_output_comes_through_as_it_is(board: Board) -> None:
    assert adb(board, "exec-out", "printf 'a\\r\\n\\000b'").stdout == b"a\r\n\0b"


def test_files_go_both_ways(board: Board, tmp_path: Path) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    path = f"{board['workspace']}/below/content"
    assert adb(board, "push", sent, path).returncode == 0
    assert adb(board, "shell", f"cat {path} > copy; cat copy").stdout == sent.read_bytes()
    assert adb(board, "pull", path, back).returncode == 0
    assert back.read_bytes() == sent.read_bytes()


def test_a_folder_is_pulled(board: Board, tmp_path: Path) -> None:
    adb(board, "shell", "mkdir -p pulled; echo 1 > pulled/one; echo 2 > pulled/two")
    assert adb(board, "pull", "/data/local/tmp/pulled", tmp_path).returncode == 0
    assert {path.name: path.read_text() for path in (tmp_path / "pulled").iterdir()} == {"one": "1\n", "two": "2\n"}


@pytest.mark.parametrize("path", ["/etc/passwd", "/data/local/tmp/../../../escaped", "/data/local/tmp/link/escaped"])
def test_nothing_is_pushed_out_of_the_storage(board: Board, tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("content")
    adb(board, "shell", f"ln -sfn {tmp_path} link")
    refused = adb(board, "push", tmp_path / "file", path)
    assert refused.returncode != 0
    assert b"not in /data/local/tmp" in refused.stdout + refused.stderr
    assert not (tmp_path / "escaped").exists()


def test_a_missing_file_is_not_pulled(board: Board, tmp_path: Path) -> None:
    missing = adb(board, "pull", "/data/local/tmp/missing", tmp_path)
    assert missing.returncode != 0
    assert b"does not exist" in missing.stdout + missing.stderr


def test_a_command_ends_with_its_client(board: Board) -> None:
    # Once a second for as long as it lives.
    tell = "while :; do echo alive >> alive; sleep 0.2; done"
    client = subprocess.Popen(["adb", "-s", board["serial"], "shell", tell], env=adb_environment(board))
    time.sleep(1.5)
    client.kill()
    client.wait()
    time.sleep(1)
    before = adb(board, "shell", "cat alive").stdout
    time.sleep(1)
    assert before.startswith(b"alive")
    assert adb(board, "shell", "cat alive").stdout == before
