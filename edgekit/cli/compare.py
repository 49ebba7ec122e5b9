"""edgekit compare"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from edgekit.cli.console import Console, drop_output, number, output_options

HOLDS: Final = 1
"""As `diff` and `grep` have it: no error, but an answer."""


@click.command()
@click.argument("folders", metavar="OUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--fail-on",
    multiple=True,
    metavar="CONDITION",
    help='End with exit code 1 where it holds, such as "latency>+5%", "size>+1000" or "accuracy<0.9"; may be repeated.',
)
@click.option(
    "--allow-unlike", is_flag=True, help="Let --fail-on compare what is of other evidence, boards or labels too."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="A page to write, .html.")
@click.option("--overwrite", is_flag=True, help="Replace an older page.")
@output_options
def compare(
    *,
    console: Console,
    folders: Sequence[Path],
    fail_on: Sequence[str],
    allow_unlike: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Compare builds with the first, figure by figure.

    OUT are two build folders or more, the older first. Figures whose intervals overlap are not ranked, and what was not judged
    in one way is not compared.

    \b
    edgekit compare old/ new/
    edgekit compare old/ new/ --fail-on "latency>+5%" --fail-on "accuracy<-0.5%"
    edgekit compare old/ new/ -o compare.html
    """
    from edgekit.pipeline.compare import compare as run

    result = run(*folders, fail_on=fail_on, allow_unlike=allow_unlike)
    if output is not None:
        result.write_page(output, overwrite=overwrite)
    record = result.to_json()
    if result.failed:
        _tell(record["conditions"])
    try:
        _print(console, record)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads: the exit code still tells
        drop_output()
    if result.failed:
        click.get_current_context().exit(HOLDS)


def _tell(outcomes: Sequence[Mapping[str, Any]]) -> None:
    from edgekit.report.comparison_page import outcome_text

    lines = [f"edgekit: {outcome_text(outcome)}" for outcome in outcomes if outcome["holds"]]
    with suppress(OSError):  # nobody reads: the exit code still tells
        sys.stderr.write("\n".join([*lines, f"  exit code {HOLDS}, see docs/exit-codes/{HOLDS}.md", ""]))
        sys.stderr.flush()


def _print(console: Console, record: Mapping[str, Any]) -> None:
    if console.as_json:
        console.json(record)
        return
    from edgekit.report.comparison_page import outcome_text

    builds, rows = record["builds"], record["rows"]
    names = [build["folder"] for build in builds]
    console.table(("figure", "unit", "evidence", *names), map(_row, rows), wraps=True)
    for verdict, figures in _unranked(rows, names).items():
        console.line(f"{verdict}: {'; '.join(figures)}")
    console.line()
    console.table(
        ("build", "kind", "target", "of"),
        [[build[key] for key in ("folder", "kind", "target", "subject")] for build in builds],
    )
    kept = [outcome_text(outcome) for outcome in record["conditions"] if not outcome["holds"]]
    if kept:
        console.line("\n".join(["", *kept]))


def _row(row: Mapping[str, Any]) -> list[str]:
    cells = [cell for cell in row["cells"] if cell]
    unit, evidence = (", ".join(dict.fromkeys(cell[key] for cell in cells)) for key in ("unit", "evidence"))
    return [row["figure"], unit, evidence, *map(_value, row["cells"])]


def _value(cell: Mapping[str, Any] | None) -> str:
    """The change stands in brackets where it is no rank."""
    from edgekit.report.comparison_page import percent_text

    if cell is None:
        return ""
    if cell["value"] is None:
        return "not a number"
    told = cell["difference"]
    change = "" if told is None else "equal" if told["verdict"] == "equal" else percent_text(told)
    return f"{number(cell['value'])}  {f'({change})' if change and told['reason'] else change}".rstrip()


def _unranked(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[str]]:
    """By verdict the figures that it is said of, with the builds that have them."""
    from edgekit.report.comparison_page import verdict_text

    found: dict[str, list[str]] = {}
    for row in rows:
        of_row: dict[str, list[str]] = {}
        for name, cell in zip(names, row["cells"], strict=True):
            if cell and cell["difference"] and cell["difference"]["reason"]:
                of_row.setdefault(verdict_text(cell["difference"]), []).append(name)
        for verdict, builds in of_row.items():
            found.setdefault(verdict, []).append(f"{row['figure']} of {' and '.join(builds)}")
    return found
