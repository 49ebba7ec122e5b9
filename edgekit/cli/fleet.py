"""edgekit fleet"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.console import Console, number, output_options
from edgekit.cli.failures import failure_of
from edgekit.cli.fleet_progress import fleet_progress
from edgekit.core.errors import IncompleteError

if TYPE_CHECKING:
    from edgekit.pipeline.fleet.member import Member
    from edgekit.pipeline.fleet.result import FleetResult, MemberResult

_FIGURES = ("accuracy", "latency", "size")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FLEET.TOML")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder to write, with a build folder for each member in it.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="How many members to build at the same time; default: the number of cores.",
)
@click.option("--ray", metavar="ADDRESS", help="Build on a Ray cluster instead: HOST:PORT, ray://HOST:PORT or auto.")
@click.option("--dry-run", is_flag=True, help="Print the members and build none.")
@output_options
def fleet(
    *, console: Console, file: Path, output: Path | None, workers: int | None, ray: str | None, dry_run: bool
) -> None:
    """Build tasks x targets x budgets, as one file says.

    Members that are finished in DIR are kept, those in the cache are copied, and the rest is built. A member that fails stops
    no other: the exit code is then 10, and fleet.json in DIR says why. To resume, give the same command again.

    \b
    edgekit fleet fleet.toml -o fleet-out/
    edgekit fleet fleet.toml --dry-run
    edgekit fleet fleet.toml -o fleet-out/ --ray auto
    """
    if dry_run:
        _members(console, file)
        return
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output': the folder to write, or --dry-run.")
    with fleet_progress(console) as progress:
        from edgekit.pipeline.fleet.fleet import fleet as run

        result = run(file, output=output, workers=workers, ray=ray, progress=progress)
    if console.as_json:
        console.json(result.to_json())
    else:
        _results(console, result)
    if result.failed:
        _fail(result)


def _members(console: Console, file: Path) -> None:
    from edgekit.pipeline.fleet.fleet_file import read_fleet

    members = read_fleet(file)
    if console.as_json:
        console.json({"members": [member.to_json() for member in members]})
        return
    console.table(
        ("member", "target", "limits", "inputs"),
        [(one.name, one.target, _limits(one), _inputs(one)) for one in members],
    )


def _limits(member: Member) -> str:
    limits: dict[str, Any] = member.to_json()["limits"]
    return ", ".join(f"{name} {limit}" for name, limit in limits.items()) or "none"


def _inputs(member: Member) -> str:
    return ", ".join(f"{name} {value}" for name, value in member.inputs.items())


def _results(console: Console, result: FleetResult) -> None:
    header = ("member", "state", "accuracy", "latency, ms", "size, bytes")
    console.table(header, [_row(one) for one in result.members if one.failure is None])
    console.line()
    for one in result.failed:
        if one.failure is not None:
            console.line(f"{one.member.name}: exit code {one.failure.code}: {one.failure.message}")
    counts = ", ".join(f"{count} {state}" for state, count in result.to_json()["counts"].items() if count)
    console.line()
    console.facts(
        {"folder": result.folder, "members": counts, "built by": result.crew, "seconds": f"{result.seconds:.1f}"}
    )


def _row(one: MemberResult) -> tuple[str, ...]:
    figures = {figure.name: figure.quantity for figure in one.figures}
    told = (figures[name] for name in _FIGURES)
    return one.member.name, one.state.value, *(f"{number(one.value)} {one.evidence.value}" for one in told)


def _fail(result: FleetResult) -> None:
    """The result is on stdout already, with --json the one object there; this says on stderr that it is not complete."""
    error = IncompleteError(
        f"{len(result.failed)} of {len(result.members)} members were not built",
        hint=f"{result.folder / 'fleet.json'} says why",
    )
    sys.stderr.write(f"{failure_of(error)}\n")
    raise click.exceptions.Exit(error.code)
