"""What a command prints: its result on stdout, as a table or as one JSON object, and nothing else there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.interruption import Interruption

if TYPE_CHECKING:
    from edgekit.pipeline.result import Figure

# Wider than any row: a line of a pipe or a file is never wrapped.
_ENDLESS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Console:
    """How a command was asked to print, and what may end it."""

    as_json: bool
    quiet: bool
    interruption: Interruption

    def facts(self, facts: Mapping[str, object]) -> None:
        """A row for each name and its value."""
        self.table((), ((name, str(value)) for name, value in facts.items()))

    def figures(self, figures: Iterable[Figure]) -> None:
        """A row for each, with its evidence."""
        rows = []
        for figure in figures:
            quantity = figure.quantity
            interval = " to ".join(map(number, quantity.interval)) if quantity.interval else ""
            value = f"{number(quantity.value)} {quantity.unit}"
            rows.append((figure.name, value, interval, quantity.evidence.value, quantity.source))
        self.table(("figure", "value", "interval", "evidence", "source"), rows)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], *, wraps: bool = False) -> None:
        """On a terminal in lines and colours, where all cells may wrap, or the last alone; else in plain aligned columns."""
        from rich import box
        from rich.console import Console as Rich
        from rich.table import Table

        on_terminal = sys.stdout.isatty()
        table = Table(box=box.SIMPLE_HEAD if on_terminal else None, show_header=bool(header), pad_edge=False)
        *names, last = header or ("", "")
        for name in names:
            table.add_column(name, no_wrap=not wraps)
        table.add_column(last, overflow="fold")
        for row in rows:
            table.add_row(*row)
        rich = Rich(markup=False, emoji=False, highlight=False, width=None if on_terminal else _ENDLESS)
        if on_terminal:
            rich.print(table)
            return
        with rich.capture() as capture:
            rich.print(table)
        self.line("\n".join(line.rstrip() for line in capture.get().splitlines()))

    def line(self, text: str = "") -> None:
        print(text)  # noqa: T201

    def json(self, record: Mapping[str, Any]) -> None:
        self.line(json.dumps(record, indent=2))


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command --json, -q and -v, and hands it a `console`. -v is for `main`, which reports failures."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print no progress.")
    @click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Also print the traceback of an error.")
    @wraps(command)
    def with_console(*, as_json: bool, quiet: bool, **options: Any) -> None:
        interruption = click.get_current_context().obj
        command(console=Console(as_json=as_json, quiet=quiet, interruption=interruption), **options)

    return with_console


def drop_output() -> None:
    """Keeps the interpreter from failing once more when it flushes stdout at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.4g}"
