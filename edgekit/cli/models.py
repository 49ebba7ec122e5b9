"""edgekit models"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.console import Console, number, output_options
from edgekit.cli.progress import steps

if TYPE_CHECKING:
    from edgekit.supernet.storage import SupernetFolder


@click.group()
def models() -> None:
    """The supernets that networks are assembled from."""


@models.command("list")
@output_options
def list_(*, console: Console) -> None:
    """List the supernets that come with edgekit."""
    from edgekit.supernet.storage import list_supernets, open_supernet

    known = [open_supernet(name) for name in list_supernets()]
    if console.as_json:
        console.json({"models": [_record(folder) for folder in known]})
        return
    rows = ((folder.name, str(len(folder.vocabulary)), folder.card["data"]) for folder in known)
    console.table(("name", "labels", "trained on"), rows)


@models.command()
@click.argument("name")
@output_options
def show(*, console: Console, name: str) -> None:
    """Show the card and the vocabulary of the supernet NAME, or of one in a folder."""
    from edgekit.supernet.storage import open_supernet

    folder = open_supernet(name)
    if console.as_json:
        console.json(_record(folder))
        return
    card = {key: value for key, value in folder.card.items() if isinstance(value, (str, int, float))}
    size = folder.spec.image_size
    console.facts(
        {
            **{key.replace("_", " "): value for key, value in card.items() if key != "schema_version"},
            "folder": folder.path,
            "input": f"{size} x {size} pixels, RGB",
            "blocks": len(folder.spec.blocks),
        }
    )
    console.line()
    keys = tuple(folder.vocabulary.attributes)
    console.table(
        ("label", *keys),
        ((label.name, *(label.attributes.get(key, "") for key in keys)) for label in folder.vocabulary.labels),
    )


@models.command("eval")
@click.argument("name")
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of Parquet files.")
@click.option("--split", default="test", show_default=True, help="Which files: SPLIT*.parquet.")
@click.option("--genotype", help="A subnet instead of the full supernet.")
@output_options
def evaluate(*, console: Console, name: str, data: Path, split: str, genotype: str | None) -> None:
    """Measure the accuracy of the supernet NAME over its whole vocabulary."""
    from edgekit.pipeline.evaluate import evaluate as run

    evaluation = run(name, data, split=split, genotype=genotype)
    if console.as_json:
        console.json(evaluation.to_json())
        return
    rows = ((recall.label, number(recall.images), f"{recall.recall:.4f}") for recall in evaluation.recalls)
    console.table(("label", "images", "recall"), rows)
    console.line()
    accuracy = evaluation.accuracy
    interval = " to ".join(f"{bound:.4f}" for bound in accuracy.interval or ())
    console.facts(
        {
            "model": evaluation.model,
            "genotype": evaluation.genotype,
            "accuracy": f"{accuracy.value:.4f} ({interval})",
            "evidence": f"{accuracy.evidence.value}: {accuracy.source}",
        }
    )


@models.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of Parquet files.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write; else the recipe's name."
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint.")
@click.option("--overwrite", is_flag=True, help="Replace an older folder.")
@output_options
def train(*, console: Console, recipe: Path, data: Path, output: Path | None, resume: bool, overwrite: bool) -> None:
    """Train a supernet with its generator after a RECIPE (TOML); see docs/training.md."""
    from edgekit.assembler.training.recipe import Recipe
    from edgekit.assembler.training.run import train_supernet

    output = output or Path(Recipe.load(recipe).name)
    with steps(console) as report:
        train_supernet(recipe, data, output, resume=resume, overwrite=overwrite, report=report)
    if console.as_json:
        console.json({"folder": str(output)})
    else:
        console.line(f"{output} is a supernet: edgekit models show {output}")


def _record(folder: SupernetFolder) -> dict[str, Any]:
    return {
        "name": folder.name,
        "folder": str(folder.path),
        "card": dict(folder.card),
        "vocabulary": [{"name": label.name, **label.attributes} for label in folder.vocabulary.labels],
    }
