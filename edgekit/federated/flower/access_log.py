"""Who was let in and who was refused: a line each, with its time, in a file that only its owner reads. Never a key or a token."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.federated.allow_list import now_utc

FILE = "access.log"


class AccessLog:
    """Appends, so that a restarted server goes on where the last one ended."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a")

    def admitted(self, who: str, *, peer: str) -> None:
        self._write("admitted", who, peer)

    def refused(self, who: str, *, peer: str) -> None:
        self._write("refused", who, peer)

    def _write(self, what: str, who: str, peer: str) -> None:
        # What a peer sends ends up here: no line of its own making.
        line = f"{now_utc().isoformat(timespec='milliseconds')} {what} {peer} {who}"
        self._file.write("".join(character if character.isprintable() else "?" for character in line) + "\n")
        self._file.flush()
