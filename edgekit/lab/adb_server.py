"""The lab's phone, and an adb server of its own for it: not the one that a user's real phones hang on."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.lab import phone
from edgekit.lab.servers import Server, start_server
from edgekit.lab.ssh_server import ADDRESS, MACHINE
from edgekit.lab.tools import LabError, run_tool, tool

_CLIENT_S = 20


def start_phone(folder: Path, *, port: int, storage: Path, shell: Sequence[str]) -> Server:
    """The device side of adb; `storage` is its /data/local/tmp, `shell` runs its commands. Raises LabError."""
    return start_server(
        "phone",
        [sys.executable, "-I", phone.__file__, str(port), storage, *shell],
        port=port,
        log=folder / "phone.log",
        is_ready=lambda: _listens(port),
    )


def start_adb_server(folder: Path, *, port: int, serial: str) -> Server:
    """Connected to the device `serial`. Raises LabError where programs of the board do not run there."""
    return start_server(
        "adb",
        [tool("adb"), "-P", str(port), "nodaemon", "server"],
        port=port,
        log=folder / "adb.log",
        # A client that finds no server starts one that nobody ends.
        is_ready=lambda: _listens(port) and _connects(port, serial),
        # Its key lies in the home folder; and it is to look for no other device, least of all one that is plugged in.
        environment={"HOME": str(folder), "ADB_EMU": "0", "ADB_MDNS": "0", "ADB_USB": "0"},
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0


def _connects(port: int, serial: str) -> bool:
    """Whether the adb server reaches a device on which programs of the board run."""
    client = [tool("adb"), "-P", str(port)]
    try:
        run_tool([*client, "connect", serial], doing="connecting adb", timeout_s=_CLIENT_S)
        shell = [*client, "-s", serial, "shell", "uname", "-m"]
        return run_tool(shell, doing="asking the board over adb", timeout_s=_CLIENT_S).strip() == MACHINE
    except LabError:
        return False
