"""What is done with a board, however it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """A program that ended by itself on the board."""

    code: int
    stdout: str
    stderr: str


class Transport(Protocol):
    """One open way to one board. Each method raises LostBoardError where the connection breaks or time runs out, BoardError
    where the board refuses."""

    def push(self, source: Path, target: str) -> None:
        """Copies a file into the board's folder, which exists afterwards; a part of it never has the name `target`."""

    def exec(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Completed:
        """Runs a program to its end."""

    def pull(self, source: str, target: Path) -> None:
        """Copies a file from the board."""

    def close(self) -> None:
        """Leaves nothing running here."""
