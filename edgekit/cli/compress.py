"""edgekit compress"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.budget_options import compression_budget_options
from edgekit.cli.console import Console, number, output_options
from edgekit.cli.progress import stages


def _numbers(kind: type) -> Any:
    def parsed(_context: click.Context, parameter: click.Parameter, given: str | None) -> tuple[Any, ...] | None:
        if given is None:
            return None
        try:
            return tuple(kind(part) for part in given.replace("x", ",").split(","))
        except ValueError as error:
            raise click.BadParameter(f'"{given}" is not a list of numbers such as {parameter.metavar}') from error

    return parsed


@click.command()
@click.argument("source", metavar="MODEL")
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help="Of a factory: safetensors or a state dict."
)
@click.option("--input-shape", callback=_numbers(int), metavar="3,32,32", help="Of a factory, without the batch.")
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="PATH", help="Inputs to learn from.")
@click.option(
    "--eval",
    "evaluation",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Inputs to be judged on; a quarter of --data without it.",
)
@click.option("--mean", callback=_numbers(float), metavar="R,G,B", help="Of pixels in [0, 1], as in training.")
@click.option("--std", callback=_numbers(float), metavar="R,G,B", help="The same of the spread.")
@click.option("--mirror", is_flag=True, help="Training may mirror pictures: what they show looks alike in a mirror.")
@click.option("--target", default="rpi4", show_default=True, metavar="DEVICE[:RUNTIME[-PRECISION]]", help="The board.")
@click.option(
    "--board", metavar="BOARD", help="Run the file on it too, one of `edgekit devices boards`, and tell its cost."
)
@click.option("--recipe", type=click.Path(path_type=Path), metavar="FILE", help="Passes and options, TOML.")
@click.option(
    "--pass", "passes", multiple=True, metavar="ID[,OPTION=VALUE...]", help="One pass; may be repeated, in order."
)
@click.option(
    "--max-accuracy-drop",
    type=float,
    metavar="POINTS",
    help="The floor; 1.0 where the recipe is searched, none where it is given.",
)
@compression_budget_options
@click.option("--minutes", type=float, default=10.0, show_default=True, help="To search a recipe in.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="The folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace an older folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all random choices.")
@output_options
def compress(*, console: Console, output: Path | None, overwrite: bool, dry_run: bool, **asked: Any) -> None:
    """Compress a network into the smallest verified file that keeps its accuracy.

    MODEL is a .pt2 of torch.export, an .onnx file, or a factory such as mypkg.nets:resnet20.

    \b
    edgekit compress net.pt2 --data pictures/ --target rpi4 --max-accuracy-drop 1.0 -o out/
    edgekit compress net.onnx --recipe recipe.toml --data train/ --eval val/ -o out/
    edgekit compress mypkg.nets:resnet20 --input-shape 3,32,32 --weights w.safetensors --pass swap::ghost --data train/ -o out/
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    if dry_run:
        _plan(console, asked)
        return
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output': the folder to write, or --dry-run.")
    with stages(console) as progress:
        progress("start")
        from edgekit.pipeline.compress import compress as run

        result = run(**asked, output=output, overwrite=overwrite, progress=progress)
    if console.as_json:
        console.json(result.to_json())
        return
    first = result.rows[0].judgement.value
    console.table(
        (
            "after",
            "parameters",
            "not zero",
            "MACs",
            "bytes, predicted",
            "ms, predicted",
            result.judgement.measure,
            "lost",
        ),
        (
            (
                row.step,
                f"{row.parameters:,}",
                f"{row.nonzeros:,}",
                f"{row.macs:,}",
                f"{row.size_bytes:,.0f}",
                number(row.latency.value),
                f"{100 * row.judgement.value:.2f} %",
                f"{100 * (first - row.judgement.value):.2f}",
            )
            for row in result.rows
        ),
    )
    console.line()
    if result.trials:
        console.table(
            ("trial", "from", "MACs", "ms, predicted", "points lost", "kept", "passes added"),
            (
                (
                    str(count),
                    str(trial.start),
                    f"{trial.macs:,}",
                    number(trial.latency_ms),
                    f"{trial.drop_points:.2f}",
                    "yes" if trial.kept else "no",
                    trial.added,
                )
                for count, trial in enumerate(result.trials, 1)
            ),
        )
        console.line()
    console.figures(result.figures)
    console.line()
    for note in (*result.notes, *(note for row in result.rows for note in row.notes)):
        console.line(f"- {note}")
    console.line()
    console.facts(
        {
            "folder": result.folder,
            "report": result.folder / "report.html",
            "recipe": str(result.recipe),
            "points lost by the file": f"{result.drop_points:.2f}",
            "seconds": ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.stages_s.items()),
        }
    )


def _plan(console: Console, asked: dict[str, Any]) -> None:
    from edgekit.pipeline.compression.plan import plan_compression

    planned = plan_compression(**asked).to_json()
    if console.as_json:
        console.json(planned)
        return
    console.facts(
        {
            name: "none" if value in (None, {}, []) else value
            for name, value in planned.items()
            if name != "schema_version"
        }
    )
