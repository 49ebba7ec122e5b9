"""How clients find the boards of the lab: a file among the user's boards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from edgekit.core.data_folders import user_folder
from edgekit.core.records import write_bytes
from edgekit.devices.device import Device
from edgekit.lab.phone import STORAGE
from edgekit.lab.ssh_server import ADDRESS, SshAccess
from edgekit.lab.sysroot import PYTHON


@dataclass(frozen=True, kw_only=True, slots=True)
class Boards:
    """One emulated board behind three doors: ssh, adb, and the emulator itself.

    `home` is a path of the board, and `root`, `plugin` and `workspace` of this machine.
    """

    device: Device
    ssh: SshAccess
    home: str
    serial: str
    adb_server_port: int
    root: Path
    plugin: Path
    workspace: Path

    def to_toml(self) -> str:
        common = {"device": self.device.name, "emulated": True, "python": [PYTHON, "-S"]}
        boards: dict[str, dict[str, Any]] = {
            "lab": {
                **common,
                "transport": "ssh",
                "host": ADDRESS,
                "port": self.ssh.port,
                "user": self.ssh.user,
                "identity_file": str(self.ssh.identity_file),
                "known_hosts_file": str(self.ssh.known_hosts_file),
                "workspace": self.home,
            },
            "lab-phone": {
                **common,
                "transport": "adb",
                "serial": self.serial,
                "adb_server_port": self.adb_server_port,
                "workspace": str(STORAGE / "edgekit"),
            },
            "lab-qemu": {
                **common,
                "transport": "qemu",
                "sysroot": str(self.root),
                "cpu": self.device.mcpu,
                "plugin": str(self.plugin),
                "workspace": str(self.workspace),
            },
        }
        return tomli_w.dumps({"boards": boards})


BOARDS = ("lab", "lab-phone", "lab-qemu")


def boards_file() -> Path:
    return user_folder("boards.d") / "lab.toml"


def write_boards(boards: Boards) -> None:
    """Raises BadInputError."""
    write_bytes(boards_file(), boards.to_toml().encode())
    boards_file().chmod(0o600)
