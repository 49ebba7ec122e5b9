"""edgekit predict"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.console import Console, output_options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads to run on.")
@click.option(
    "--variant",
    metavar="NAME",
    help="One network of a build with --variants, such as 8ms, or with --early-exit, such as first.",
)
@output_options
def predict(*, console: Console, folder: Path, images: tuple[Path, ...], threads: int, variant: str | None) -> None:
    """Run the model of a build FOLDER on pictures, on this machine.

    In a build with --variants the slowest network answers unless --variant names another. A build with --early-exit runs its
    second network only if the first is not sure, and each row says which of them answered.

    \b
    edgekit predict out/ picture.png
    edgekit predict out/ *.jpg --json
    edgekit predict out/ --variant 0.6ms picture.png
    """
    from edgekit.pipeline.predict import predict as run

    predictions = run(folder, images, threads=threads, variant=variant)
    if console.as_json:
        console.json({"predictions": [prediction.to_json() for prediction in predictions]})
        return
    exits = any(prediction.answered_by for prediction in predictions)
    console.table(
        ("label", "probability", "ms here", *(["answered by"] if exits else []), "file"),
        (
            (
                prediction.label,
                f"{prediction.probability:.3f}",
                f"{prediction.ms:.3f}",
                *([prediction.answered_by or ""] if exits else []),
                prediction.file,
            )
            for prediction in predictions
        ),
    )
