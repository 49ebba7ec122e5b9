"""The one family of errors a user may see, each with its documented exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line; each has a page in docs/exit-codes/."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    INFEASIBLE = 3
    CONVERSION = 4
    VERIFICATION = 5
    BOARD = 6
    UNSTABLE = 7
    MISSING_EXTRA = 8
    BAD_INPUT = 9
    INCOMPLETE = 10
    INTERRUPTED = 130


class EdgekitError(Exception):
    """What went wrong and where (`message`), and the one next step for the user (`hint`)."""

    code = ExitCode.UNEXPECTED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EdgekitError):
    code = ExitCode.USAGE


class InfeasibleError(EdgekitError):
    code = ExitCode.INFEASIBLE


class ConversionError(EdgekitError):
    code = ExitCode.CONVERSION


class VerificationError(EdgekitError):
    code = ExitCode.VERIFICATION


class BoardError(EdgekitError):
    """A board that does not answer, is not what it is said to be, or is in use."""

    code = ExitCode.BOARD


class LostBoardError(BoardError):
    """A connection that broke or a command that did not end in time: trying again may help."""


class UnstableError(EdgekitError):
    """A measurement that cannot be trusted."""

    code = ExitCode.UNSTABLE


class MissingExtraError(EdgekitError):
    code = ExitCode.MISSING_EXTRA


class BadInputError(EdgekitError):
    """A file, a folder or data that cannot be read or written as it is."""

    code = ExitCode.BAD_INPUT


class IncompleteError(EdgekitError):
    """Some members of a fleet were not built; each has an exit code of its own."""

    code = ExitCode.INCOMPLETE
