"""Runs a page: what it tells to write is written, what it tells to type is typed, in the order in which it stands there."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manual_pages import REPO_ROOT, Command, Fence, commands

from edgekit.cli.main import main
from edgekit.core.errors import ExitCode

CONFIGURATION = "~/.config/"
SLOW = "takes minutes"


@dataclass(kw_only=True, slots=True)
class Builds:
    """Folders of builds by their command, kept in `folder`: a command on several pages is run once."""

    folder: Path
    made: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def run(self, words: tuple[str, ...], output: Path) -> None:
        if words not in self.made:
            kept = self.folder / str(len(self.made))
            in_this_process(Command(words=(*words, "-o", str(kept)), code=0))
            self.made[words] = kept
        shutil.copytree(self.made[words], output)


class Page:
    """In the current folder, which has the reader's files."""

    def __init__(self, builds: Builds) -> None:
        self._builds = builds
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def follow(self, fence: Fence, *, slow: bool = False) -> None:
        if fence.language == "sh":
            if not fence.title or (slow and fence.title == SLOW):
                for command in commands(fence.text):
                    self._type(command)
        elif fence.title:
            path = _path(fence.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fence.text, encoding="utf-8")
        elif fence.language == "python":
            exec(compile(fence.text, f"python, line {fence.line}", "exec"), self._names)  # noqa: S102

    def _type(self, command: Command) -> None:
        program, *rest = command.words
        if program == "edgekit":
            named = _output_of(rest) if rest[0] == "build" and command.code == 0 else None
            if named and not _files_in(rest):
                words, output = named
                assert not Path(output).exists(), f"{output} is there already: {command}"
                self._builds.run(("edgekit", *words), Path(output))
            else:
                in_this_process(command)
        elif program == "pip":
            assert rest[0] == "install", (
                command
            )  # what it names is looked at by another test, and installed here already
        elif program in ("python", "python3", "pytest"):
            words = [sys.executable, *(["-m", "pytest"] if program == "pytest" else []), *rest]
            environment = os.environ | {"PYTHONPATH": str(REPO_ROOT)}
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == command.code, f"{command}\n{done.stdout}{done.stderr}"
        elif program in ("mkdir", "cp", "mv", "cat", "printf"):
            done = subprocess.run(_before(">", command.words), timeout=10, check=True, capture_output=True)
            if ">" in command.words:
                Path(command.words[-1]).write_bytes(done.stdout)
        else:
            raise AssertionError(f"{program} cannot be run by a test: say in the fence's title where it is typed")


def in_this_process(command: Command) -> None:
    """As the shell would, without the seconds that a fresh process imports libraries for."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = main(command.words[1:])
        out.flush()
        err.flush()
    told = "".join(stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    if code == ExitCode.UNSTABLE and "local" in command.words:
        return  # this machine is too busy to be measured, which is what the page says of such a board
    assert code == command.code, f"{command}: exit code {code}, the page says {command.code}\n{told[-3000:]}"


def _before(word: str, words: tuple[str, ...]) -> tuple[str, ...]:
    return words[: words.index(word)] if word in words else words


def _output_of(words: list[str]) -> tuple[tuple[str, ...], str] | None:
    """The other words, and what follows -o."""
    if "-o" not in words:
        return None
    at = words.index("-o")
    return tuple(words[:at] + words[at + 2 :]), words[at + 1]


def _files_in(words: list[str]) -> bool:
    """Whether a command reads what a page may have changed."""
    return any(re.fullmatch(r"--(from|examples|data|eval|board|config)", word) or Path(word).exists() for word in words)


def _path(title: str) -> Path:
    if title.startswith(CONFIGURATION):
        return Path(os.environ["XDG_CONFIG_HOME"], title.removeprefix(CONFIGURATION))
    path = Path(title)
    assert not path.is_absolute(), title
    assert ".." not in path.parts, title
    return path
