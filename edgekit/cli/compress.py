"""edgekit compress"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.budget_options import compression_budget_options
from edgekit.cli.console import Console, number, output_options
from edgekit.cli.help import SectionedCommand
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


@click.command(cls=SectionedCommand)
@click.argument("source", metavar="MODEL")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="For a factory: its weights, safetensors or a state dict.",
)
@click.option(
    "--input-shape",
    callback=_numbers(int),
    metavar="3,32,32",
    help="For a factory: the shape of one input, without the batch.",
)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), metavar="PATH", help="Inputs to calibrate and train with."
)
@click.option(
    "--eval",
    "evaluation",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Inputs to judge accuracy on.  [default: a quarter of --data]",
)
@click.option(
    "--mean",
    callback=_numbers(float),
    metavar="R,G,B",
    help="Mean of the pixels in [0, 1], as the network was trained.",
)
@click.option("--std", callback=_numbers(float), metavar="R,G,B", help="Standard deviation of the pixels, likewise.")
@click.option("--mirror", is_flag=True, help="Training may mirror pictures: they mean the same in a mirror.")
@click.option(
    "--target", default="rpi4", show_default=True, metavar="DEVICE[:RUNTIME[-PRECISION]]", help="What to compress for."
)
@click.option("--board", metavar="BOARD", help="Also run the file on this board, one of `edgekit devices boards`.")
@click.option(
    "--recipe", type=click.Path(path_type=Path), metavar="FILE", help="The passes and their options, in TOML."
)
@click.option(
    "--pass",
    "passes",
    multiple=True,
    metavar="ID[,OPTION=VALUE...]",
    help="One pass; repeat it for more, in the order in which they run.",
)
@click.option(
    "--max-accuracy-drop",
    type=float,
    metavar="POINTS",
    help="Points of accuracy that may be lost.  [default: 1.0 with a search, else no limit]",
)
@compression_budget_options
@click.option("--minutes", type=float, default=10.0, show_default=True, help="Time for the search of a recipe.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="The folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace an older folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all random choices."
)
@output_options
def compress(*, console: Console, output: Path | None, overwrite: bool, dry_run: bool, **asked: Any) -> None:
    """Compress your own network into a small, verified file.

    It is the smallest file found that keeps the accuracy.

    MODEL is a .pt2 file of torch.export, an .onnx file, or a factory such as mypkg.nets:resnet20, a Python function that
    returns the network. Without --recipe and --pass a recipe is searched.

    \b
    edgekit compress net.pt2 --data pictures/ --max-accuracy-drop 1.0 -o out/
    edgekit compress net.onnx --recipe recipe.toml --data train/ -o out/
    edgekit compress net.pt2 --data train/ --pass fold::batch_norm \\
        --pass prune::channels --pass quant::int8 -o out/
    edgekit compress mypkg.nets:resnet20 --input-shape 3,32,32 \\
        --weights w.safetensors --pass swap::ghost --data train/ -o out/
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
