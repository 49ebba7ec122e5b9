"""A board behind the system's `ssh` and `scp`: one connection for all commands, keys checked, no question asked."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgekit.core.errors import BoardError, EdgekitError, LostBoardError
from edgekit.devices.boards import processes
from edgekit.devices.boards.board import SshBoard
from edgekit.devices.boards.remote import cannot_write, check_in_time, last_line, limited
from edgekit.devices.boards.transport import Completed

_PACKAGE: Final = "openssh-client"
_CONNECT_S, _ALIVE_S, _COPY_S = 10, 5, 120
# What ssh itself exits with; the programs that run on a board never do.
_OWN_FAILURE: Final = 255


class SshTransport:
    def __init__(self, board: SshBoard) -> None:
        self._board = board
        # The path of a socket has at most 104 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="edgekit-ssh-"))
        self._made: set[str] = set()

    def push(self, source: Path, target: str) -> None:
        folder = target.rpartition("/")[0]
        if folder not in self._made:
            self._checked(["mkdir", "-p", "--", folder])
            self._made.add(folder)
        part = f"{target}.part"
        self._copy(str(source.absolute()), f"{self._destination()}:{part}")
        self._checked(["mv", "-f", "--", part, target])

    def exec(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Completed:
        variables = [f"{name}={value}" for name, value in (env or {}).items()]
        # ssh hands one line to the board's shell: quoted, every argument reaches the program as it is.
        command = shlex.join(limited(["env", *variables, *argv] if variables else argv, timeout_s))
        asked = ["ssh", *self._options(), "--", self._destination(), command]
        done = processes.run(asked, timeout_s=timeout_s + _CONNECT_S, package=_PACKAGE)
        if done.code == _OWN_FAILURE:
            raise self._failure(done.stderr)
        check_in_time(done, self._board.name, argv, timeout_s)
        return done

    def pull(self, source: str, target: Path) -> None:
        self._copy(f"{self._destination()}:{source}", str(target.absolute()))

    def close(self) -> None:
        with suppress(EdgekitError):
            processes.run(["ssh", *self._options(), "-O", "exit", "--", self._destination()], timeout_s=_ALIVE_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _options(self) -> list[str]:
        board = self._board
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(_CONNECT_S),
            "ServerAliveInterval": str(_ALIVE_S),
            "ServerAliveCountMax": "3",
            "ControlMaster": "auto",
            "ControlPath": str(self._folder / "c"),
            "ControlPersist": "60",
            **({"Port": str(board.port)} if board.port else {}),
            **({"IdentityFile": board.identity_file, "IdentitiesOnly": "yes"} if board.identity_file else {}),
            **({"UserKnownHostsFile": board.known_hosts_file} if board.known_hosts_file else {}),
        }
        return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]

    def _destination(self) -> str:
        return f"{self._board.user}@{self._board.host}" if self._board.user else self._board.host

    def _copy(self, source: str, target: str) -> None:
        done = processes.run(["scp", "-q", *self._options(), "--", source, target], timeout_s=_COPY_S, package=_PACKAGE)
        if done.code:
            raise self._failure(done.stderr)

    def _checked(self, argv: Sequence[str]) -> None:
        done = self.exec(argv, timeout_s=_CONNECT_S)
        if done.code:
            raise cannot_write(self._board.name, done.stderr)

    def _failure(self, told: str) -> BoardError:
        name, reason = self._board.name, last_line(told)
        if "Host key verification failed" in told or "REMOTE HOST IDENTIFICATION HAS CHANGED" in told:
            return BoardError(
                f"the host key of {name} is not the one in known_hosts",
                hint="if the board was set up again, remove the old key with ssh-keygen -R and log in once by hand",
            )
        if "Permission denied (" in told:
            return BoardError(f"{name} refuses the login: {reason}", hint="copy your key to it with ssh-copy-id")
        for sign in ("No space left", "Disk quota", "Read-only", "Permission denied", "write remote"):
            if sign in told:
                return cannot_write(name, told)
        return LostBoardError(
            f"{name} does not answer: {reason}", hint="check that it is switched on and that ssh reaches it"
        )
