"""The emulator itself as a board: programs of an arm64 tree, run by `qemu-aarch64` with the plug-in that counts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.devices.boards import processes
from edgekit.devices.boards.board import QemuBoard
from edgekit.devices.boards.local import LocalTransport
from edgekit.devices.boards.transport import Completed


class QemuTransport(LocalTransport):
    """Files lie on this machine: the emulated program sees them under the same paths."""

    def __init__(self, board: QemuBoard) -> None:
        self._board = board

    def exec(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Completed:
        board = self._board
        Path(board.workspace).mkdir(parents=True, exist_ok=True)
        program, *arguments = argv
        with tempfile.NamedTemporaryFile(dir=board.workspace, prefix="counts-") as counts:
            emulator = ["qemu-aarch64", "-cpu", board.cpu, "-L", board.sysroot]
            emulator += ["-plugin", f"file={board.plugin},out={counts.name}"]
            return processes.run(
                [*emulator, board.sysroot + program, *arguments],
                timeout_s=timeout_s,
                env={
                    "PYTHONHOME": f"{board.sysroot}/usr",
                    "PYTHONPATH": f"{board.sysroot}/opt/site",
                    "PYTHONHASHSEED": "0",
                    "EDGEKIT_COUNTS": counts.name,
                    **(env or {}),
                },
                package="qemu-user",
            )
