"""How --help is laid out: commands and options in sections, examples under a heading of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import cleandoc
from itertools import groupby
from typing import Final

import click

OTHERS: Final = "Other commands"
COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Build": ("init", "build", "assemble", "fleet"),
    "Judge and use": ("predict", "verify", "profile", "report", "compare"),
    "Your own network": ("compress", "passes"),
    "What there is": ("models", "devices"),
    "Boards and clients": ("lab", "federated"),
    "This machine": ("doctor", "cache", "completion"),
}
# Of commands with many options; what is not named comes last, as "Options".
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Task": ("--task", "--examples", "--presence", "--grouped", "--other"),
    "Network": ("--model", "--genotype", "--from", "--weights", "--input-shape"),
    "Data": ("--data", "--eval", "--mean", "--std", "--mirror", "--clients", "--number"),
    "Target": ("--target", "--runtime", "--board", "--tuning-minutes"),
    "Limits": (
        *("--latency-ms", "--size-bytes", "--peak-ram-bytes", "--macs", "--min-accuracy", "--max-accuracy-drop"),
        *("--variants", "--early-exit", "--front", "--ram-mb", "--mmacs", "--traffic-mb"),
    ),
    "Passes": ("--recipe", "--pass", "--minutes"),
    "Training": (
        "--density",
        "--rounds",
        "--per-round",
        "--epochs",
        "--batch",
        "--learning-rate",
        "--candidates",
        "--trim",
    ),
    "Privacy": ("--secure", "--minimum", "--groups", "--clip", "--noise", "--delta"),
}
_REST: Final = "Options"
# How click is told to leave a paragraph as it is.
_VERBATIM: Final = "\b\n"


class Group(click.Group):
    """Lists its commands in the order in which they were added, and those of `COMMANDS` in its sections."""

    group_class = type  # groups within groups are of this class too

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (of click)
        return list(self.commands)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cmd.help = with_examples(cmd.help)
        super().add_command(cmd, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections = COMMANDS if ctx.parent is None else {"Commands": tuple(self.commands)}
        known = [name for names in sections.values() for name in names]
        rest = {OTHERS: tuple(name for name in self.commands if name not in known)}
        widest = max(map(len, self.commands))
        for title, names in {**sections, **rest}.items():
            present = [self.commands[name] for name in names if name in self.commands]
            if present:
                limit = formatter.width - 6 - widest
                with formatter.section(title):
                    formatter.write_dl(
                        [(f"{one.name:{widest}}", one.get_short_help_str(limit)) for one in present if one.name]
                    )


class SectionedCommand(click.Command):
    """Lists its options in the sections of `_OPTIONS`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        order = [*_OPTIONS, _REST]
        records = [
            (_section(parameter), record)
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
        ]
        records.sort(key=lambda one: order.index(one[0]))
        for title, members in groupby(records, key=lambda one: one[0]):
            with formatter.section(title):
                formatter.write_dl([record for _, record in members])


def with_examples(text: str | None) -> str | None:
    """A help text in which a paragraph of commands, marked as verbatim, stands under "Examples:"."""
    if text is None:
        return None
    paragraphs = cleandoc(text).split("\n\n")
    return "\n\n".join(_under_heading(one) if one.startswith(f"{_VERBATIM}edgekit ") else one for one in paragraphs)


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], click.Command]]:
    """Every command below `group` with its path, groups among them."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


def _under_heading(paragraph: str) -> str:
    lines = paragraph.removeprefix(_VERBATIM).splitlines()
    return f"{_VERBATIM}Examples:\n" + "\n".join(f"  {line}" for line in lines)


def _section(parameter: click.Parameter) -> str:
    return next((title for title, flags in _OPTIONS.items() if not {*flags}.isdisjoint(parameter.opts)), _REST)
