"""What ways to a board over a shell have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from edgekit.core.errors import BoardError
from edgekit.devices.boards.transport import Completed

_GRACE_S: Final = 5
# What `timeout` of coreutils and toybox exits with where it ended the program, and what a shell says of one that was killed.
_OUT_OF_TIME, _KILLED = 124, 137


def limited(argv: Sequence[str], timeout_s: float) -> list[str]:
    """The board itself ends the program: it would go on where only the connection to it ends."""
    return ["timeout", "-k", str(_GRACE_S), str(math.ceil(timeout_s)), *argv]


def check_in_time(done: Completed, name: str, argv: Sequence[str], timeout_s: float) -> None:
    """Raises BoardError where the board ended the program."""
    if done.code == _OUT_OF_TIME:
        raise BoardError(
            f"{argv[0]} did not end within {timeout_s:g} s on {name}", hint="check what else runs on the board"
        )
    if done.code == _KILLED:
        raise BoardError(f"{argv[0]} was killed on {name}", hint="check whether the board has enough memory")


def cannot_write(name: str, told: str) -> BoardError:
    return BoardError(
        f"{name} cannot be written to: {last_line(told)}", hint="free some space on it, or choose another workspace"
    )


def last_line(told: str) -> str:
    return next((line.strip() for line in reversed(told.splitlines()) if line.strip()), "no reason given")
