"""From a recipe and images to a supernet's folder; and a finished one fitted anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from edgekit.assembler.training.curve import CURVE
from edgekit.assembler.training.data import split_by_group
from edgekit.assembler.training.data.checks import DataReport
from edgekit.assembler.training.data.reading import TrainingData, read_training_data
from edgekit.assembler.training.finishing import Finished, Report, finish, stage_of
from edgekit.assembler.training.measured import MeasurementStore
from edgekit.assembler.training.trainer import Trainer
from edgekit.core.records import check_replaceable, writing_to
from edgekit.supernet.storage import CARD, RECIPE, WEIGHTS, SupernetFolder


def train_supernet(
    recipe_path: Path,
    data: Path,
    output: Path,
    *,
    resume: bool,
    overwrite: bool,
    report: Report,
    skip_bad: bool = False,
    checked: Callable[[DataReport], None] = lambda _: None,
) -> Path:
    """Writes `output` whole, and checkpoints beside it in `<output>.training` on the way.

    What is found in the data goes to `checked` before anything is trained; bad images stop the training, or with `skip_bad`
    are left out. The vocabulary is the `vocabulary.json` beside the recipe, or made from the class names of the data. Under
    `torchrun` every process trains and the first one writes. Raises BadInputError for unusable recipes and data, UsageError
    where `output` exists and may not be overwritten.
    """
    check_replaceable(output, overwrite=overwrite, marker=CARD)
    found = _read(recipe_path, data, report, skip_bad, checked)
    recipe, vocabulary = found.recipe, found.vocabulary
    train, held_out = split_by_group(found.dataset, held_out=recipe.held_out, seed=recipe.seed)
    del found  # its images are copied in both sides

    work = _work_folder(output)
    trainer = Trainer(recipe, vocabulary, train, held_out, work)
    store = MeasurementStore(folder=work, bfloat16=recipe.bfloat16, device=trainer.device)
    trained = trainer.run(lambda stage, step, figures: report(stage, step, recipe.steps, figures), resume=resume)
    if trainer.rank != 0:
        return output
    finished = Finished(
        recipe_path=recipe_path,
        recipe=recipe,
        vocabulary=vocabulary,
        supernet=trained.cpu(),
        facts={
            "steps": recipe.steps,
            "batch": recipe.batch,
            "seconds": round(trainer.seconds),
            "device": str(trainer.device),
            "torch": torch.__version__,
            "train_images": len(train),
            "held_out_images": len(held_out),
        },
        curve=trainer.curve.path.read_bytes(),
    )
    finish(finished, train, held_out, output, store=store, overwrite=overwrite, report=report)
    return output


def refit_supernet(
    folder: SupernetFolder,
    data: Path,
    output: Path,
    *,
    overwrite: bool,
    report: Report,
    skip_bad: bool = False,
    checked: Callable[[DataReport], None] = lambda _: None,
) -> Path:
    """Writes a copy of a finished supernet whose accuracy predictor, generator, archive and calibration pictures are made anew.

    The weights are those of `folder`. With the data of its training the same images are held out again; with a user's own,
    accuracies are predicted for pictures like these. Raises as `train_supernet`.
    """
    check_replaceable(output, overwrite=overwrite, marker=CARD)
    supernet, curve = folder.load(folder.read_tensors(WEIGHTS)), folder.path / CURVE
    recipe_path = folder.path / RECIPE
    found = _read(recipe_path, data, report, skip_bad, checked)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = MeasurementStore(folder=_work_folder(output), bfloat16=found.recipe.bfloat16, device=device)
    train, held_out = split_by_group(found.dataset, held_out=found.recipe.held_out, seed=found.recipe.seed)
    finished = Finished(
        recipe_path=recipe_path,
        recipe=found.recipe,
        vocabulary=found.vocabulary,
        supernet=supernet,
        facts=folder.card["training"],
        curve=curve.read_bytes() if curve.exists() else b"",
    )
    finish(finished, train, held_out, output, store=store, overwrite=overwrite, report=report)
    return output


def _work_folder(output: Path) -> Path:
    work = output.with_name(output.name + ".training")
    with writing_to(work):
        work.mkdir(parents=True, exist_ok=True)
    return work


def _read(
    recipe_path: Path, data: Path, report: Report, skip_bad: bool, checked: Callable[[DataReport], None]
) -> TrainingData:
    found = read_training_data(recipe_path, data, stage_of(report, "read"))
    checked(found.report)
    found.report.check(skip_bad=skip_bad)
    return found
