"""The pages of the manual as data: their fences, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from edgekit.cli.main import edgekit

REPO_ROOT = Path(__file__).parents[1]
PAGES = tuple(
    REPO_ROOT / name
    for name in (
        "README.md",
        "ci/workflows/README.md",
        *sorted(str(path.relative_to(REPO_ROOT)) for path in (REPO_ROOT / "docs").rglob("*.md")),
    )
)

_FENCE = re.compile(
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)
_STANDS_FOR_MORE = ("...", "…")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fence:
    """`title` names the file that the text is of, or where a command is typed: nothing where it is any shell."""

    language: str
    title: str
    text: str
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """`code` is the exit code that the page says: `# exit code 3` behind the command, 0 without."""

    words: tuple[str, ...]
    code: int

    def __str__(self) -> str:
        return shlex.join(self.words)


def name_of(page: Path) -> str:
    return str(page.relative_to(REPO_ROOT))


def fences(page: Path) -> tuple[Fence, ...]:
    text = page.read_text(encoding="utf-8")
    return tuple(
        Fence(
            language=found["language"],
            title=found["title"] or "",
            text=found["text"],
            line=text.count("\n", 0, found.start()) + 1,
        )
        for found in _FENCE.finditer(text)
    )


def prose_of(page: Path) -> str:
    """What stands between the fences."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(text: str) -> Iterator[Command]:
    """One a line; a backslash at its end goes on in the next."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            code = re.search(r"# exit code (\d+)", line)
            yield Command(words=tuple(words), code=int(code[1]) if code else 0)


def calls(page: Path) -> Iterator[tuple[str, ...]]:
    """The words of every call of edgekit on a page, in a fence of commands or between backticks."""
    for fence in fences(page):
        if fence.language == "sh":
            yield from (command.words for command in commands(fence.text) if command.words[0] == "edgekit")
    for call in re.findall(r"`(edgekit [^`]+)`", prose_of(page)):
        yield tuple(shlex.split(call.replace("[", "").replace("]", ""), comments=True))


def check_call(words: tuple[str, ...] | list[str]) -> None:
    """Fails for a command or an option that does not exist; words in capitals stand for what a user chooses."""
    command: click.Command = edgekit
    rest = [word for word in words[1:] if word not in _STANDS_FOR_MORE]
    with click.Context(edgekit) as context:
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            if rest[0].isupper():
                return
            found = command.get_command(context, rest[0])
            assert found is not None, f"{rest[0]} of {shlex.join(words)}"
            command, rest = found, rest[1:]
        known = {
            option
            for parameter in command.get_params(context)
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for word in rest:
            option = word.partition("=")[0]
            assert not re.match(r"--?[a-z]", option) or option in known, f"{option} of {shlex.join(words)}"
