"""What the user is told when a command fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from edgekit.core.errors import BadInputError, ConversionError, EdgekitError, ExitCode, MissingExtraError, UsageError

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
    causes = list(_causes(error))
    missing = next(filter(None, map(_missing_library, causes)), None)
    refused = next((cause for cause in causes if isinstance(cause, OSError)), None)
    if missing:
        return _of_edgekit_error(missing)
    if refused and (error is refused or isinstance(error, ConversionError)):
        return _of_edgekit_error(_refused(refused))
    match error:
        case EdgekitError():
            return _of_edgekit_error(error)
        case click.ClickException():
            return _of_edgekit_error(UsageError(error.format_message(), hint=_help_of(error)))
        case KeyboardInterrupt():
            hint = "nothing half-written is left; a training goes on with --resume, a calibration or a fleet with the same command"
            return Failure(code=ExitCode.INTERRUPTED, message="interrupted", hint=hint)
        case _:
            return Failure(
                code=ExitCode.UNEXPECTED,
                message=f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0],
                hint="this is a bug in edgekit: report the command, its output with -v, and edgekit --version",
            )


def _refused(error: OSError) -> BadInputError:
    """What the operating system does not let us do: a full disk, a closed folder."""
    place = error.filename or "the output or a temporary file"
    return BadInputError(
        f"cannot read or write {place}: {error.strerror or error}", hint="free some space, or choose another folder"
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


def _missing_library(error: BaseException) -> MissingExtraError | None:
    """Where an import did not find a library that edgekit requires."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    from importlib.metadata import PackageNotFoundError, requires

    module = error.name.partition(".")[0]
    library = _NAMED_OTHERWISE.get(module, module.replace("_", "-"))
    try:
        requirements = [line.partition(";")[0].strip() for line in requires("edgekit") or ()]
    except PackageNotFoundError:
        return None
    for requirement in requirements:
        if re.split(r"[<>=!~ \[]", requirement)[0] == library:
            return MissingExtraError(f"{library} is not installed", hint=f"pip install '{requirement}'")
    return None
