"""What the user is told when something cannot be done."""

from __future__ import annotations

# Exit codes, as edgekit's: docs/exit-codes of its manual.
USAGE, MISSING, UNREADABLE, INTERRUPTED = 2, 8, 9, 130


class Refusal(Exception):
    """One sentence, and the exit code."""

    def __init__(self, sentence: str, code: int = UNREADABLE) -> None:
        super().__init__(sentence)
        self.code = code


def missing(library: str, packages: str) -> Refusal:
    return Refusal(f"{library} is missing ({packages}): deploy/README.md says how it is installed", MISSING)
