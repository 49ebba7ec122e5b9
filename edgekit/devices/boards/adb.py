"""A phone, or anything else behind the system's `adb`."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgekit.core.errors import BoardError, EdgekitError, LostBoardError
from edgekit.devices.boards import processes
from edgekit.devices.boards.board import AdbBoard
from edgekit.devices.boards.remote import cannot_write, check_in_time, last_line, limited
from edgekit.devices.boards.transport import Completed

_PACKAGE: Final = "adb"
_CONNECT_S, _COPY_S = 15, 120
_LOST: Final = (
    "device offline",
    "not found",
    "no devices",
    "closed",
    "connect failed",
    "cannot connect",
    "failed to connect",
)


class AdbTransport:
    def __init__(self, board: AdbBoard) -> None:
        """Raises LostBoardError where a board in the network does not answer."""
        self._board = board
        self._is_our_server = not _listens(board.adb_server_port)
        self._made: set[str] = set()
        if ":" in board.serial:
            said = self._adb(["connect", board.serial], timeout_s=_CONNECT_S, on_device=False).stdout
            if "connected to" not in said:
                self.close()
                raise LostBoardError(
                    f"{board.name} does not answer: {said.strip()}",
                    hint="check that adb over the network is switched on there",
                )

    def push(self, source: Path, target: str) -> None:
        folder = target.rpartition("/")[0]
        if folder not in self._made:
            self._checked(["mkdir", "-p", folder])
            self._made.add(folder)
        part = f"{target}.part"
        self._copied(self._adb(["push", str(source.absolute()), part], timeout_s=_COPY_S))
        self._checked(["mv", "-f", part, target])

    def exec(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Completed:
        variables = [f"{name}={value}" for name, value in (env or {}).items()]
        # adb hands one line to the board's shell: quoted, every argument reaches the program as it is.
        command = shlex.join(limited(["env", *variables, *argv] if variables else argv, timeout_s))
        done = self._adb(["shell", command], timeout_s=timeout_s + _CONNECT_S)
        # A server that starts tells so first.
        if done.code and any(line.startswith(("error:", "adb:")) for line in done.stderr.splitlines()):
            raise self._failure(done.stderr)
        check_in_time(done, self._board.name, argv, timeout_s)
        return done

    def pull(self, source: str, target: Path) -> None:
        self._copied(self._adb(["pull", source, str(target.absolute())], timeout_s=_COPY_S))

    def close(self) -> None:
        """A server that was there before stays."""
        with suppress(EdgekitError):
            if ":" in self._board.serial:
                self._adb(["disconnect", self._board.serial], timeout_s=_CONNECT_S, on_device=False)
            if self._is_our_server:
                self._adb(["kill-server"], timeout_s=_CONNECT_S, on_device=False)

    def _adb(self, arguments: Sequence[str], *, timeout_s: float, on_device: bool = True) -> Completed:
        device = ["-s", self._board.serial] if on_device else []
        port = str(self._board.adb_server_port)
        return processes.run(["adb", "-P", port, *device, *arguments], timeout_s=timeout_s, package=_PACKAGE)

    def _checked(self, argv: Sequence[str]) -> None:
        done = self.exec(argv, timeout_s=_CONNECT_S)
        if done.code:
            raise cannot_write(self._board.name, done.stderr or done.stdout)

    def _copied(self, done: Completed) -> None:
        if done.code:
            raise self._failure(done.stderr or done.stdout)

    def _failure(self, told: str) -> BoardError:
        name, reason = self._board.name, last_line(told)
        if "unauthorized" in told:
            return BoardError(
                f"{name} does not trust this machine", hint="unlock it and allow USB debugging on its screen"
            )
        if any(sign in told for sign in _LOST):
            return LostBoardError(f"{name} does not answer: {reason}", hint="check whether `adb devices` lists it")
        return cannot_write(name, told)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(1)
        return tried.connect_ex(("127.0.0.1", port)) == 0
