"""edgekit profile"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.console import Console, number, output_options

if TYPE_CHECKING:
    from edgekit.pipeline.profile import Profile


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", metavar="DEVICE", help="The device, as for build; runtime and precision are the file's own.")
@click.option("--board", metavar="BOARD", help="Measure on this board, one of `edgekit devices boards`.")
@click.option(
    "--variant",
    metavar="NAME",
    help="One network of a build with --variants, such as 8ms, or with --early-exit, such as first.",
)
@output_options
def profile(*, console: Console, model: Path, target: str | None, board: str | None, variant: str | None) -> None:
    """Tell what a model costs on a board, operator by operator.

    MODEL is a .tflite, .onnx or .so file, or a build folder.

    \b
    edgekit profile model.tflite --target rpi4
    edgekit profile out/ --target rpi4 --json
    edgekit profile out/ --board pi
    """
    from edgekit.pipeline.profile import profile as run

    result = run(model, target, board=board, variant=variant)
    if console.as_json:
        console.json(result.to_json())
        return
    console.facts({"file": result.file, "target": f"{result.target}, {result.threads} threads"})
    console.line()
    console.figures(result.figures)
    if result.operators:
        _tables(console, result)
    for note in result.notes:
        console.line(f"note: {note}")


def _tables(console: Console, result: Profile) -> None:
    console.line()
    console.table(
        ("operators", "number", "MACs", "ms predicted", "share"),
        (
            (kind.kind, str(kind.operators), number(kind.macs), f"{kind.latency_ms:.3f}", f"{kind.share:.0%}")
            for kind in result.kinds
        ),
    )
    console.line()
    console.table(
        ("operator", "kind", "kernel", "stride", "channels", "MACs", "bytes moved", "ms predicted", "share"),
        (
            (
                cost.name,
                cost.kind,
                str(cost.kernel),
                str(cost.stride),
                str(cost.channels),
                number(cost.macs),
                number(cost.bytes_moved),
                f"{cost.latency_ms:.4f}",
                f"{cost.share:.1%}",
            )
            for cost in result.operators
        ),
    )
