"""The system's own clients, as anybody would use them with an entry of the lab's boards."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Board = Mapping[str, Any]


def ssh_options(board: Board, **settings: str) -> list[str]:
    given = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityFile": board["identity_file"],
        "Port": str(board["port"]),
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": board["known_hosts_file"],
        "User": board["user"],
    } | settings
    return ["-F", "none", *(argument for name, value in given.items() for argument in ("-o", f"{name}={value}"))]


def ssh(
    board: Board, command: str, *, content: bytes = b"", timeout_s: float = 60, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    return run(["ssh", *ssh_options(board, **settings), board["host"], command], content=content, timeout_s=timeout_s)


def scp(board: Board, source: str | Path, target: str | Path) -> subprocess.CompletedProcess[bytes]:
    return run(["scp", "-q", *ssh_options(board), source, target])


def on_board(board: Board, path: str | Path) -> str:
    """As scp names it."""
    return f"{board['host']}:{path}"


def connect(board: Board) -> None:
    """Whoever used it before may have taken his leave."""
    assert b"connected to" in adb(board, "connect", board["serial"]).stdout


def adb(board: Board, *arguments: str | Path, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return run(["adb", "-s", board["serial"], *arguments], content=content, environment=adb_environment(board))


def adb_environment(board: Board) -> dict[str, str]:
    return os.environ | {"ANDROID_ADB_SERVER_PORT": str(board["adb_server_port"])}


def qemu(board: Board, *arguments: str | Path, counts: Path) -> subprocess.CompletedProcess[bytes]:
    root = board["sysroot"]
    emulator = ["qemu-aarch64", "-cpu", board["cpu"], "-L", root, "-plugin", f"file={board['plugin']},out={counts}"]
    environment = os.environ | {
        "EDGEKIT_COUNTS": str(counts),
        "PYTHONHASHSEED": "0",
        "PYTHONHOME": f"{root}/usr",
        "PYTHONPATH": f"{root}/opt/site",
    }
    python, *options = board["python"]
    return run([*emulator, root + python, *options, *arguments], environment=environment)


def run(
    command: Sequence[str | Path],
    *,
    content: bytes = b"",
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60,
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(argument) for argument in command],
        input=content,
        capture_output=True,
        env=environment,
        timeout=timeout_s,
        check=False,
    )


def python_of(board: Board) -> str:
    return shlex.join(board["python"])
