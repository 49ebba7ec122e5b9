"""edgekit assemble"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.budget_options import budget_options
from edgekit.cli.console import Console, number, output_options
from edgekit.cli.help import SectionedCommand

if TYPE_CHECKING:
    from edgekit.pipeline.points import Point


@click.command(cls=SectionedCommand)
@click.option("--task", required=True, help='What to recognise, such as "stop, yield" or "kind=danger".')
@click.option(
    "--target", default="rpi4", show_default=True, metavar="DEVICE[:RUNTIME[-PRECISION]]", help="What to assemble for."
)
@click.option("--presence", is_flag=True, help="Ask whether any of the labels is in the picture: yes or no.")
@click.option("--grouped", is_flag=True, help="One output for each term between commas, whatever it selects.")
@click.option("--other", is_flag=True, help='Add a class "other" for all labels that the task leaves out.')
@click.option("--model", default="signs43", show_default=True, help="A supernet, by name or folder.")
@budget_options
@click.option(
    "--front", is_flag=True, help="List all networks that no other beats in accuracy, latency, size and memory at once."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all random choices."
)
@output_options
def assemble(*, console: Console, front: bool, **inputs: Any) -> None:
    """Choose a network without building it, or list the front.

    A LIMIT is a number, or a share of what the full supernet costs, such as 25%.

    \b
    edgekit assemble --target rpi4 --task "stop, yield" --latency-ms 0.5
    edgekit assemble --target rpi4 --task "stop, yield" --front
    """
    if front:
        _front(console, inputs)
    else:
        _assemble(console, inputs)


def _assemble(console: Console, inputs: dict[str, Any]) -> None:
    from edgekit.pipeline.assemble import assemble as run

    assembled = run(**inputs)
    if console.as_json:
        console.json(assembled.to_json())
        return
    refined, at_once = assembled.refined, assembled.at_once
    rows = []
    for name, quantity in ((figure.name, figure.quantity) for figure in refined.figures):
        value = f"{number(quantity.value)} {quantity.unit}"
        rows.append((name, value, _interval(refined, name), quantity.evidence.value, quantity.source))
    console.table(("figure", "value", "interval", "evidence", "source"), rows)
    console.line()
    recalled = f"{at_once.genotype}, accuracy {number(at_once.figure('accuracy').value)}" if at_once else "none"
    console.facts(
        {
            "genotype": refined.genotype,
            "from the archive": recalled,
            "seconds": ", ".join(f"{name} {seconds:.3f}" for name, seconds in assembled.seconds.items()),
            "build": refined.command,
        }
    )


def _front(console: Console, inputs: dict[str, Any]) -> None:
    from edgekit.pipeline.assemble import front as run

    found = run(**inputs)
    if console.as_json:
        console.json(found.to_json())
        return
    rows = []
    for point in found.rows:
        shown = [
            text
            for name in ("latency", "accuracy")
            for text in (number(point.figure(name).value), _interval(point, name))
        ]
        costs = [number(point.figure(name).value) for name in ("size", "peak RAM", "MACs")]
        rows.append((*shown, *costs, point.figure("accuracy").evidence.value, point.genotype))
    header = (
        "latency ms",
        "interval",
        "accuracy",
        "interval",
        "size bytes",
        "peak RAM bytes",
        "MACs",
        "evidence",
        "genotype",
    )
    console.table(header, rows)
    console.line()
    shown_of = f", {len(rows)} of them above and all with --json" if len(rows) < len(found.points) else ""
    console.facts(
        {
            "front": f"{number(len(found.points))} networks{shown_of}",
            "seconds": ", ".join(f"{name} {seconds:.3f}" for name, seconds in found.seconds.items()),
            "build the last": found.rows[-1].command,
        }
    )


def _interval(point: Point, name: str) -> str:
    interval = point.figure(name).interval
    return " to ".join(map(number, interval)) if interval else ""
