"""The emulated boards of this machine's user: up, status, down. There is at most one lab."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs

from edgekit.core.errors import UsageError
from edgekit.core.records import read_json, write_json, writing_to
from edgekit.devices.device import Device, load_device
from edgekit.lab import board_shell
from edgekit.lab.adb_server import start_adb_server, start_phone
from edgekit.lab.board_shell import Board
from edgekit.lab.boards import BOARDS, Boards, boards_file, write_boards
from edgekit.lab.machine import check_machine
from edgekit.lab.phone import STORAGE
from edgekit.lab.plugin import make_plugin
from edgekit.lab.profile import check_emulated, write_profile
from edgekit.lab.servers import Server, free_port
from edgekit.lab.ssh_server import ADDRESS, start_ssh_server
from edgekit.lab.sysroot import make_sysroot
from edgekit.lab.tools import tool

_SCHEMA_VERSION = 1
_SSH_PORT, _PHONE_PORT, _ADB_SERVER_PORT = 2201, 15555, 15037
_HOME = "/home/edgekit"
# Of the board's file system, for the emulator without a chroot; all else it finds is this machine's.
_LINKED = ("bin", "etc", "lib", "opt", "sbin", "usr")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """Its boards are in `boards_file`, for as long as it is up."""

    device: str
    boards_file: Path
    servers: tuple[Server, ...]

    @property
    def whole(self) -> bool:
        return self.boards_file.is_file() and all(server.alive for server in self.servers)

    @property
    def boards(self) -> tuple[str, ...]:
        """Their names, none where clients cannot reach them."""
        return BOARDS if self.whole else ()

    def to_json(self) -> dict[str, Any]:
        servers = [
            {"name": server.name, "port": server.port, "pid": server.pid, "alive": server.alive}
            for server in self.servers
        ]
        return {
            "device": self.device,
            "boards": list(self.boards),
            "boards_file": str(self.boards_file),
            "servers": servers,
        }


def up(device: str, *, progress: Callable[[str], None] = lambda _stage: None) -> Lab:
    """The lab as this device: the one that is up, or a new one.

    Raises UsageError where it is up as another device or the device cannot be emulated, MissingExtraError where the machine
    lacks what it takes, LabError where it cannot be made.
    """
    wanted = load_device(device)
    check_emulated(wanted)
    with _locked():
        present = read_lab()
        if present and present.whole:
            if present.device != wanted.name:
                raise UsageError(f"the lab is up as {present.device}", hint="run edgekit lab down, then edgekit lab up")
            return present
        _remove(present.servers if present else ())
        return _make(wanted, progress)


def status() -> Lab | None:
    """None where there is no lab."""
    with _locked():
        return read_lab()


def down() -> Lab | None:
    """Ends the lab, with whatever runs on its boards and all their files; what took long to make stays in the cache.

    Returns what there was. Raises LabError where a server does not end, BadInputError for files that cannot be removed.
    """
    with _locked():
        present = read_lab()
        _remove(present.servers if present else ())
        return present


def _make(device: Device, progress: Callable[[str], None]) -> Lab:
    check_machine()
    plugin, sysroot = make_plugin(), make_sysroot(progress=progress)
    folder = _folder()
    lab = Lab(device=device.name, boards_file=boards_file(), servers=())

    def add(server: Server) -> None:
        nonlocal lab
        lab = replace(lab, servers=(*lab.servers, server))
        _write(lab)

    try:
        with writing_to(folder):
            folder.mkdir(mode=0o700)
            root, workspace = folder / "root", folder / "workspace"
            write_profile(device, root)
            for name in _LINKED:
                (root / name).symlink_to(sysroot / name)
            for name in ("adb", "home", "phone", "tmp", "workspace"):
                (folder / name).mkdir()
            board = Board(
                sysroot=str(sysroot),
                profile=str(root),
                plugin=str(plugin),
                emulator=tool("qemu-aarch64"),
                cpu=device.mcpu,
                home=_HOME,
                folders={_HOME: str(folder / "home"), "/tmp": str(folder / "tmp")},  # noqa: S108 (of the board)
            )
            progress("start sshd")
            shell = _shell(board, folder / "board.json")
            server, access = start_ssh_server(
                folder / "ssh", port=free_port(_SSH_PORT), command=f"exec {shlex.join(shell)}"
            )
            add(server)
            progress("start adb and its phone")
            storage = folder / "phone"
            on_phone = replace(board, home=str(STORAGE), folders={**board.folders, str(STORAGE): str(storage)})
            shell = _shell(on_phone, folder / "phone.json")
            add(start_phone(folder / "adb", port=free_port(_PHONE_PORT), storage=storage, shell=shell))
            serial = f"{ADDRESS}:{lab.servers[-1].port}"
            add(start_adb_server(folder / "adb", port=free_port(_ADB_SERVER_PORT), serial=serial))
        write_boards(
            Boards(
                device=device,
                ssh=access,
                home=_HOME,
                serial=serial,
                adb_server_port=lab.servers[-1].port,
                root=root,
                plugin=plugin,
                workspace=workspace,
            )
        )
    except BaseException:
        _remove(lab.servers)
        raise
    return lab


def _shell(board: Board, description: Path) -> list[str]:
    """What runs commands on a board."""
    description.write_text(json.dumps(asdict(board)))
    return [sys.executable, "-I", "-S", board_shell.__file__, str(description)]


def _remove(servers: tuple[Server, ...]) -> None:
    for server in servers:
        server.stop()
    for path in (boards_file(), _folder()):
        with writing_to(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def read_lab() -> Lab | None:
    """As `status`, at once: while a command makes or ends the lab, what it has written so far."""
    path = _folder() / "lab.json"
    if not path.exists():
        return None
    record = read_json(path, schema_version=_SCHEMA_VERSION)
    return Lab(
        device=record["device"],
        boards_file=Path(record["boards_file"]),
        servers=tuple(Server(**server) for server in record["servers"]),
    )


def _write(lab: Lab) -> None:
    write_json(
        _folder() / "lab.json",
        {
            "schema_version": _SCHEMA_VERSION,
            "device": lab.device,
            "boards_file": str(lab.boards_file),
            "servers": [asdict(server) for server in lab.servers],
        },
    )


def _folder() -> Path:
    return platformdirs.user_state_path("edgekit") / "lab"


@contextmanager
def _locked() -> Iterator[None]:
    """One command at a time: two that come up at once would take each other's ports."""
    folder = _folder().parent
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
