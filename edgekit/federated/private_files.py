"""Files that only their owner may read: 0600 in folders of 0700, written whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.core.errors import BadInputError
from edgekit.core.records import write_bytes, writing_to


def private_folder(path: Path) -> Path:
    """Made where it lacks, closed to others where it was open. Raises BadInputError."""
    with writing_to(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    return path


def write_private(path: Path, content: bytes) -> None:
    """A reader sees the old file or the new one, never a part, and nobody else either. Raises BadInputError."""
    write_bytes(path, content, mode=0o600)


def read_private(path: Path, *, hint: str) -> bytes:
    """Raises BadInputError where it cannot be read, or where others than its owner can."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    if mode & 0o077:
        raise BadInputError(f"{path} can be read by others than its owner", hint=f"chmod 600 {path}, or make it again")
    return content


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time changes what is in a folder; the others wait."""
    with writing_to(folder):
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
