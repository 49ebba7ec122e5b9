"""One job on a board at a time. The lock is the operating system's: it goes with the process that holds it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import platformdirs

from edgekit.core.errors import BoardError
from edgekit.core.records import writing_to
from edgekit.devices.boards.board import Board

_POLL_S = 0.2


@contextmanager
def locked(board: Board, *, wait_s: float) -> Iterator[None]:
    """Raises BoardError where another process holds the board longer than `wait_s`."""
    folder = platformdirs.user_state_path("edgekit") / "boards"
    path = folder / f"{hashlib.sha256(board.address.encode()).hexdigest()[:16]}.lock"
    with writing_to(path):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        ends = time.monotonic() + wait_s
        while not _taken(handle):
            if time.monotonic() >= ends:
                holder = os.pread(handle, 32, 0).decode(errors="replace").strip()
                raise BoardError(
                    f"{board.name} is in use by process {holder or 'unknown'}",
                    hint="wait until it has finished: a board runs one measurement at a time",
                )
            time.sleep(_POLL_S)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
