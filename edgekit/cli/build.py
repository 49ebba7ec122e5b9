"""edgekit build"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgekit.cli.console import Console, number, output_options
from edgekit.cli.progress import stages
from edgekit.core.budget import Budget, Limit, parse_limit


def _limit(flag: str, what: str) -> Callable[[Any], Any]:
    def parsed(_context: click.Context, parameter: click.Parameter, text: str | None) -> Limit | None:
        return None if text is None else parse_limit(text, name=parameter.opts[0])

    return click.option(flag, callback=parsed, metavar="LIMIT", help=f"At most this {what}.")


@click.command()
@click.option("--task", required=True, help='What to recognise, such as "stop, yield" or "kind=danger".')
@click.option("--target", default="rpi4", show_default=True, metavar="DEVICE[:RUNTIME[-PRECISION]]", help="The board.")
@click.option("--presence", is_flag=True, help="Ask whether any of the labels is in the picture: yes or no.")
@click.option("--other", is_flag=True, help='Add a class "other" for all labels that the task leaves out.')
@click.option("--model", default="signs43", show_default=True, help="A supernet, by name or folder.")
@_limit("--latency-ms", "time for one picture on the board")
@_limit("--size-bytes", "size of the file")
@_limit("--peak-ram-bytes", "memory for activations")
@_limit("--macs", "multiply-accumulates for one picture")
@click.option(
    "--min-accuracy", type=float, metavar="FRACTION", help="The cheapest network that keeps this, as in 0.97."
)
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Pictures to calibrate int8 with.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="The build folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace an older build folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all random choices.")
@output_options
def build(
    *,
    console: Console,
    latency_ms: Limit | None,
    size_bytes: Limit | None,
    peak_ram_bytes: Limit | None,
    macs: Limit | None,
    min_accuracy: float | None,
    output: Path | None,
    overwrite: bool,
    dry_run: bool,
    **inputs: Any,
) -> None:
    """Build the network of a task for a board, into a folder.

    A LIMIT is a number, or a share of what the full supernet costs, such as 25%.
    """
    inputs["budget"] = Budget(
        latency_ms=latency_ms,
        size_bytes=size_bytes,
        peak_ram_bytes=peak_ram_bytes,
        macs=macs,
        min_accuracy=min_accuracy,
    )
    if dry_run:
        _plan(console, inputs)
    elif output is None:
        raise click.UsageError("Missing option '-o' / '--output': the folder to write, or --dry-run.")
    else:
        _build(console, {**inputs, "output": output, "overwrite": overwrite})


def _plan(console: Console, inputs: dict[str, Any]) -> None:
    from edgekit.pipeline.plan import plan

    planned = plan(**inputs).to_json()
    if console.as_json:
        console.json(planned)
        return
    task, budget = planned["task"], planned["budget"]
    console.facts(
        {
            "task": task["text"],
            "kind": task["kind"],
            "outputs": ", ".join(task["outputs"]),
            "target": f"{planned['target']}, {planned['threads']} threads",
            "budget": ", ".join(f"{name} {limit}" for name, limit in budget.items()) or "none",
            "model": planned["model"],
            "calibration": planned["calibration"],
            "seed": planned["seed"],
        }
    )


def _build(console: Console, inputs: dict[str, Any]) -> None:
    with stages(console) as progress:
        progress("start")
        from edgekit.pipeline.build import build as run

        result = run(**inputs, progress=progress)
    if console.as_json:
        console.json(result.to_json())
        return
    rows = []
    for figure in result.figures:
        quantity = figure.quantity
        interval = " to ".join(map(number, quantity.interval)) if quantity.interval else ""
        value = f"{number(quantity.value)} {quantity.unit}"
        rows.append((figure.name, value, interval, quantity.evidence.value, quantity.source))
    console.table(("figure", "value", "interval", "evidence", "source"), rows)
    console.line()
    console.facts(
        {
            "folder": result.folder,
            "outputs": ", ".join(result.labels),
            "genotype": result.genotype,
            "seconds": ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.stages_s.items()),
        }
    )
