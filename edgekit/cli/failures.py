"""What the user is told when a command fails."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from edgekit.core.errors import BadInputError, EdgekitError, ExitCode, MissingExtraError, UsageError

_FULL_OR_CLOSED = {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS}
_NAMED_OTHERWISE = {"PIL": "pillow"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One sentence, the next step, and the exit code with its page."""

    code: ExitCode
    message: str
    hint: str

    @property
    def page(self) -> str:
        return f"docs/exit-codes/{int(self.code)}.md"

    def __str__(self) -> str:
        lines = [
            f"edgekit: {self.message}",
            f"  {self.hint}" if self.hint else "",
            f"  exit code {self.code}, see {self.page}",
        ]
        return "\n".join(filter(None, lines))

    def to_json(self) -> dict[str, Any]:
        return {"code": int(self.code), "message": self.message, "hint": self.hint, "page": self.page}


def failure_of(error: BaseException) -> Failure:
    """Every exception has an answer; what nobody foresaw is a bug of ours."""
    for cause in _causes(error):
        requirement = _missing_requirement(cause)
        if requirement:
            missing = MissingExtraError(f"{requirement[0]} is not installed", hint=f"pip install '{requirement[1]}'")
            return _of_edgekit_error(missing)
    match error:
        case EdgekitError():
            return _of_edgekit_error(error)
        case click.ClickException():
            return _of_edgekit_error(UsageError(error.format_message(), hint=_help_of(error)))
        case KeyboardInterrupt():
            hint = "nothing half-written is left; a training goes on with --resume"
            return Failure(code=ExitCode.INTERRUPTED, message="interrupted", hint=hint)
        case OSError() if error.errno in _FULL_OR_CLOSED:
            place = error.filename or "the output"
            full = BadInputError(
                f"cannot read or write {place}: {error.strerror}", hint="free space, or choose another folder"
            )
            return _of_edgekit_error(full)
        case _:
            return Failure(
                code=ExitCode.UNEXPECTED,
                message=f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0],
                hint="this is a bug of ours: report the command, its output with -v, and edgekit --version",
            )


def _of_edgekit_error(error: EdgekitError) -> Failure:
    return Failure(code=error.code, message=error.message, hint=error.hint)


def _help_of(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see {context.command_path if context else 'edgekit'} --help"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from: a converter that cannot be imported is reported as a failed conversion."""
    while error is not None:
        yield error
        error = error.__cause__


def _missing_requirement(error: BaseException) -> tuple[str, str] | None:
    """(name, requirement) of the library of ours that an import did not find."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    from importlib.metadata import PackageNotFoundError, requires

    module = error.name.partition(".")[0]
    wanted = _NAMED_OTHERWISE.get(module, module.replace("_", "-"))
    try:
        listed = [line.partition(";")[0].strip() for line in requires("edgekit") or ()]
    except PackageNotFoundError:
        return None
    return next(((wanted, line) for line in listed if re.split(r"[<>=!~ \[]", line)[0] == wanted), None)
