"""Manual pages out of the help texts, one a command, for `man edgekit` and `man edgekit-build`.

Written when a wheel is built, see setup.py. click-man fills the paragraphs that are to stay as they are, examples above all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from edgekit.cli.help import walk
from edgekit.cli.main import edgekit
from edgekit.core.errors import ExitCode
from edgekit.version import VERSION

_VERBATIM: Final = "\b\n"
_EXAMPLES: Final = "Examples:\n"
_EXIT_CODES: Final = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "a bug in edgekit",
    ExitCode.USAGE: "wrong usage",
    ExitCode.INFEASIBLE: "no network keeps the budget",
    ExitCode.CONVERSION: "the network cannot be converted",
    ExitCode.VERIFICATION: "the file does not compute what it should",
    ExitCode.BOARD: "a board is unreachable, busy, or not what it is said to be",
    ExitCode.UNSTABLE: "a measurement cannot be trusted",
    ExitCode.MISSING_EXTRA: "a library or a program is missing",
    ExitCode.BAD_INPUT: "a file or folder cannot be read or written",
    ExitCode.INCOMPLETE: "a fleet is not complete",
    ExitCode.INTERRUPTED: "interrupted",
}


def write_pages(folder: Path) -> tuple[Path, ...]:
    """Writes `edgekit.1` and a page for each command below it."""
    folder.mkdir(parents=True, exist_ok=True)
    commands = {(): edgekit, **dict(walk(edgekit))}
    pages = []
    for path, command in commands.items():
        page = folder / f"{_name(path)}.1"
        page.write_text("\n".join(_page(path, command)) + "\n", encoding="utf-8")
        pages.append(page)
    return tuple(pages)


def _page(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(("edgekit", *path)), **edgekit.context_settings)
    name = _name(path)
    yield f'.TH "{_escaped(name.upper())}" "1" "" "edgekit {VERSION}" "edgekit"'
    yield ".SH NAME"
    yield _escaped(f"{name} - {command.get_short_help_str(limit=200).rstrip('.')}")
    yield ".SH SYNOPSIS"
    yield _escaped(f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}")
    text, _, examples = (command.help or "").partition(_VERBATIM + _EXAMPLES)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(text)
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield from _item(*record)
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for each, below in command.commands.items():
            yield from _item(each, below.get_short_help_str(limit=200))
    if examples:
        yield ".SH EXAMPLES"
        yield from _verbatim(examples)
    if not path:
        yield ".SH EXIT STATUS"
        for code, meaning in _EXIT_CODES.items():
            yield from _item(str(int(code)), meaning)
    others = (
        [(), *((*path, each) for each in command.commands)] if isinstance(command, click.Group) else [(), path[:-1]]
    )
    listed = [_name(other) for other in dict.fromkeys(others) if other != path]
    if listed:
        yield ".SH SEE ALSO"
        yield _escaped(", ".join(f"{one}(1)" for one in listed))


def _name(path: tuple[str, ...]) -> str:
    return "-".join(("edgekit", *path))


def _item(term: str, text: str) -> Iterator[str]:
    yield from (".TP", f"\\fB{_escaped(term)}\\fR", _escaped(text))


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(filter(None, text.split("\n\n"))):
        if number:
            yield ".PP"
        if paragraph.startswith(_VERBATIM):
            yield from _verbatim(paragraph.removeprefix(_VERBATIM))
        else:
            yield _escaped(" ".join(paragraph.split()))


def _verbatim(text: str) -> Iterator[str]:
    yield from (".nf", *(_escaped(line) for line in text.rstrip().splitlines()), ".fi")


def _escaped(text: str) -> str:
    """In roff a backslash begins a command, and so does a point or an apostrophe at the start of a line."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
