"""edgekit models"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.console import Console, number, output_options
from edgekit.cli.help import Group
from edgekit.cli.progress import steps

if TYPE_CHECKING:
    from edgekit.assembler.training.data.checks import DataReport
    from edgekit.supernet.storage import SupernetFolder


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|FILE",
    help="A folder for each class, Parquet, or .npz; see docs/data.md.",
)
skip_bad_option = click.option(
    "--skip-bad", is_flag=True, help="Leave out images that are unreadable or contradictory."
)


@click.group(cls=Group)
def models() -> None:
    """The supernets that networks are assembled from."""


@models.command("list")
@output_options
def list_(*, console: Console) -> None:
    """List the supernets that come with edgekit.

    \b
    edgekit models list
    """
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
    """Show the card and the vocabulary of a supernet.

    NAME is that of a supernet, or its folder.

    \b
    edgekit models show signs43
    edgekit models show my_supernet/ --json
    """
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


@models.command()
@click.option("--target", default="rpi4", show_default=True, metavar="TARGET", help="What to price them for.")
@output_options
def bricks(*, console: Console, target: str) -> None:
    """List the kinds of bricks and of attention, with their cost on a board.

    \b
    edgekit models bricks --target rpi4
    """
    from edgekit.pipeline.bricks import POSITIONS, REFERENCE, list_bricks

    listed = list_bricks(target)
    if console.as_json:
        console.json(listed.to_json())
        return
    rows = []
    for sign, facts in [("", one) for one in listed.kinds] + [("+", one) for one in listed.attentions]:
        latency = facts.latency
        interval = " to ".join(map(number, latency.interval or ()))
        costs = f"{sign}{facts.macs:,}", f"{sign}{facts.weights:,}", f"{sign}{number(latency.value)}", interval
        rows.append((facts.name, *costs, latency.evidence.value, facts.source, facts.computes))
    console.table(("kind", "MACs", "weights", "ms", "interval", "evidence", "source", "computes"), rows)
    console.line()
    console.line(
        f"On {listed.target}, of one block within a network: {REFERENCE.in_channels} -> {REFERENCE.out_channels} channels, "
        f"{REFERENCE.hidden_channels} hidden in {REFERENCE.bricks} bricks, {POSITIONS} x {POSITIONS} positions; "
        "+ is what attention adds to inverted."
    )


@models.command("eval")
@click.argument("name")
@data_option
@click.option("--split", default="test", show_default=True, help="Which images: SPLIT*.parquet, or the folder SPLIT.")
@click.option("--genotype", help="This subnet instead of the full supernet.")
@output_options
def evaluate(*, console: Console, name: str, data: Path, split: str, genotype: str | None) -> None:
    """Measure the accuracy of a supernet over its whole vocabulary.

    NAME is that of a supernet, or its folder.

    \b
    edgekit models eval signs43 --data signs43_data/
    edgekit models eval signs43 --data signs43_data/ --genotype ff.07.00.01
    """
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
@data_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder to write.  [default: the recipe's name]",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint.")
@click.option("--overwrite", is_flag=True, help="Replace an older folder.")
@skip_bad_option
@output_options
def train(
    *, console: Console, recipe: Path, data: Path, output: Path | None, resume: bool, overwrite: bool, skip_bad: bool
) -> None:
    """Train a supernet and its generator as a RECIPE says; see docs/training.md.

    RECIPE is a TOML file.

    \b
    edgekit models train recipe.toml --data pictures/ -o my_supernet/
    edgekit models train recipe.toml --data pictures/ -o my_supernet/ --resume
    """
    from edgekit.assembler.training.recipe import Recipe
    from edgekit.assembler.training.run import train_supernet

    output = output or Path(Recipe.load(recipe).name)
    with steps(console) as report:
        train_supernet(
            recipe,
            data,
            output,
            resume=resume,
            overwrite=overwrite,
            report=report,
            skip_bad=skip_bad,
            checked=partial(_remark, skip_bad=skip_bad),
        )
    _tell_written(console, output)


@models.command()
@click.argument("name")
@data_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", required=True, help="The folder to write."
)
@click.option("--overwrite", is_flag=True, help="Replace an older folder.")
@skip_bad_option
@output_options
def refit(*, console: Console, name: str, data: Path, output: Path, overwrite: bool, skip_bad: bool) -> None:
    """Copy a supernet, with its accuracy predictor and its generator fitted again to images; see docs/training.md.

    NAME is that of a supernet, or its folder.

    \b
    edgekit models refit signs43 --data signs43_data/ -o refitted/
    """
    from edgekit.assembler.training.run import refit_supernet
    from edgekit.supernet.storage import open_supernet

    with steps(console) as report:
        refit_supernet(
            open_supernet(name),
            data,
            output,
            overwrite=overwrite,
            report=report,
            skip_bad=skip_bad,
            checked=partial(_remark, skip_bad=skip_bad),
        )
    _tell_written(console, output)


@models.command()
@click.argument("name")
@output_options
def archive(*, console: Console, name: str) -> None:
    """Fill a supernet's archive again, from which networks are assembled at once; see docs/assembler.md.

    NAME is that of a supernet, or its folder.

    \b
    edgekit models archive my_supernet/
    """
    from edgekit.assembler.training.illumination import add_archive
    from edgekit.supernet.storage import open_supernet

    with steps(console) as report:
        path = add_archive(open_supernet(name), report=lambda done, of: report("archive", done, of, {}))
    if console.as_json:
        console.json({"file": str(path)})
    else:
        console.line(f"written to {path}")


@models.command("check-data")
@click.argument("recipe", type=click.Path(path_type=Path))
@data_option
@skip_bad_option
@output_options
def check_data(*, console: Console, recipe: Path, data: Path, skip_bad: bool) -> None:
    """Read and check the images for a RECIPE without training; see docs/data.md.

    RECIPE is a TOML file.

    \b
    edgekit models check-data recipe.toml --data pictures/
    """
    from edgekit.assembler.training.data.reading import read_training_data

    with steps(console) as report:
        found = read_training_data(recipe, data, lambda done, of: report("read", done, of, {})).report
    if console.as_json:
        found.check(skip_bad=skip_bad)
        console.json(found.to_json())
        return
    images = [count.images for count in found.counts]
    console.facts(
        {
            "data": f"{found.path} ({found.form})",
            "images": f"{number(found.images)} at {found.image_size} x {found.image_size} pixels",
            "labels": f"{len(images)}, with {number(min(images))} to {number(max(images))} images",
            "unreadable": number(len(found.unreadable)),
            "contradictory": number(len(found.conflicts)),
        }
    )
    for remark in found.remarks:
        console.line(remark)
    found.check(skip_bad=skip_bad)


def _remark(found: DataReport, *, skip_bad: bool) -> None:
    for text in (*(f"left out: {fault}" for fault in found.faults if skip_bad), *found.remarks):
        click.echo(f"edgekit: {text}", err=True)


def _tell_written(console: Console, output: Path) -> None:
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
