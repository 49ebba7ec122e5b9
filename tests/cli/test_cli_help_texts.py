"""Every command explains itself in 80 columns, with examples that click can parse."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgekit.cli.help import COMMANDS, walk
from edgekit.cli.main import edgekit

TREE = dict(walk(edgekit))
LEAVES = {path: command for path, command in TREE.items() if not isinstance(command, click.Group)}
WIDTH = 80


def help_of(path: tuple[str, ...]) -> str:
    """As `edgekit PATH --help` prints it."""
    context = click.Context(edgekit, info_name="edgekit", terminal_width=WIDTH, **edgekit.context_settings)
    for name in path:
        command = context.command
        assert isinstance(command, click.Group)
        context = click.Context(
            command.commands[name], parent=context, info_name=name, terminal_width=WIDTH, **edgekit.context_settings
        )
    return context.get_help()


def examples_in(text: str) -> list[str]:
    """The commands under "Examples:", each on one line."""
    _, heading, block = text.partition("Examples:\n")
    assert heading, "no examples"
    lines = block.partition("\n\n")[0].replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines]


def parsed(line: str) -> Iterator[click.Context]:
    """What click makes of a command line, without running the command. Raises UsageError."""
    words = shlex.split(line)
    assert words.pop(0) == "edgekit"
    if ">" in words:
        del words[words.index(">") :]
    context = edgekit.make_context("edgekit", words)
    command = context.command
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, words, parent=context)
        yield context


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_examples_of_a_command_are_commands(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no edgekit.toml lies there
    examples = examples_in(help_of(path))
    called = set()
    for line in examples:
        *_, last = parsed(line)
        called.add(last.command)
    assert LEAVES[path] in called


def test_the_first_examples_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in examples_in(help_of(())):
        assert list(parsed(line))


def test_an_example_that_is_none_is_found() -> None:
    with pytest.raises(click.UsageError, match="No such option"):
        list(parsed("edgekit build --tusk stop"))
    with pytest.raises(click.UsageError, match="No such command"):
        list(parsed("edgekit devices lost"))


@pytest.mark.parametrize("path", [(), *TREE], ids=lambda path: " ".join(path) or "edgekit")
def test_help_fits_a_terminal(path: tuple[str, ...]) -> None:
    text = help_of(path)
    assert max(map(len, text.splitlines())) <= WIDTH
    options = [one for one in TREE[path].params if isinstance(one, click.Option)] if path else []
    assert [one.opts for one in options if not one.help] == [], "options without help"


def test_commands_are_listed_in_sections_and_whole() -> None:
    text = help_of(())
    titles = [f"{title}:" for title, names in COMMANDS.items() if {*names} & {*edgekit.commands}]
    assert [line for line in text.splitlines() if line in titles] == titles
    assert "Other commands:" not in text
    assert "..." not in text.partition("Build:")[2]
    for name in edgekit.commands:
        assert f"\n  {name} " in text


def test_options_of_a_long_command_are_in_sections() -> None:
    text = help_of(("build",))
    order = [line for line in text.splitlines() if line and not line.startswith(" ") and line.endswith(":")]
    assert order[:2] == ["Task:", "Network:"]
    assert order[-1] == "Options:"
    assert text.index("Limits:") < text.index("--latency-ms LIMIT") < text.index("Options:") < text.index("--json")
