"""From a recipe and images to a supernet's folder: train, measure, fit, teach, synthesise, write."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from edgekit.assembler.elites import ARCHIVE, Elites
from edgekit.assembler.generator import Generator
from edgekit.assembler.predictor import AccuracyPredictor
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.calibration import Moments, normalisation_statistics, synthesise
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.assembler.training.data import Dataset, split_by_group
from edgekit.assembler.training.data.checks import DataReport
from edgekit.assembler.training.data.reading import read_training_data
from edgekit.assembler.training.fitting import PredictorQuality, assess_predictor, fit_predictor
from edgekit.assembler.training.illumination import illuminate
from edgekit.assembler.training.measurements import Measurements, measure, sample_genes, sample_tasks
from edgekit.assembler.training.recipe import Recipe
from edgekit.assembler.training.teaching import Lesson, collect_lessons, teach
from edgekit.assembler.training.trainer import Trainer
from edgekit.assembler.uncertainty import Margin, Uncertainty
from edgekit.core.records import check_replaceable, sha256_of, whole_folder, write_bytes, write_json, writing_to
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.storage import CALIBRATION, CARD, CARD_SCHEMA, VOCABULARY, WEIGHTS
from edgekit.supernet.supernet import Supernet

SEARCHED, LESSONS = 120, 400
CHANGED_IMAGES = 3000

Report = Callable[[str, int, int, dict[str, float]], None]


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
    found = read_training_data(recipe_path, data, _stage(report, "read"))
    checked(found.report)
    found.report.check(skip_bad=skip_bad)
    recipe, spec, vocabulary = found.recipe, found.spec, found.vocabulary
    train, held_out = split_by_group(found.dataset, held_out=recipe.held_out, seed=recipe.seed)
    del found  # its images are copied in both sides

    work = output.with_name(output.name + ".training")
    with writing_to(work):
        work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, vocabulary, train, held_out, work)
    trained = trainer.run(lambda stage, step, figures: report(stage, step, recipe.steps, figures), resume=resume)
    if trainer.rank != 0:
        return output
    supernet = trained.cpu().requires_grad_(False)
    searcher, quality = _fit_and_teach(recipe, trainer.curriculum, supernet, train, held_out, report)
    statistics = normalisation_statistics(supernet, torch.from_numpy(_some(train, recipe.seed)).float() / 255)
    pixel = _pixel_moments(train)
    pictures = synthesise(supernet, statistics, pixel, seed=recipe.seed, report=_stage(report, "synthesise"))

    with whole_folder(output, overwrite=overwrite, marker=CARD) as folder:
        parts = {"supernet": supernet, "generator": searcher.generator, "predictor": searcher.predictor}
        tensors = {
            f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()
        }
        write_bytes(folder / WEIGHTS, save({key: value.contiguous() for key, value in tensors.items()}))
        searcher.elites.save(folder / ARCHIVE)
        write_bytes(folder / CALIBRATION, save({"x_NHWC": pictures.permute(0, 2, 3, 1).contiguous()}))
        vocabulary.save(folder / VOCABULARY)
        write_bytes(folder / "recipe.toml", recipe_path.read_bytes())
        write_json(
            folder / CARD,
            {
                "schema_version": CARD_SCHEMA,
                "name": recipe.name,
                "data": recipe.data,
                "licence": recipe.licence,
                "supernet": spec.to_json(),
                "parameters": sum(parameter.numel() for parameter in supernet.parameters()),
                "sha256": {file: sha256_of(folder / file) for file in (WEIGHTS, CALIBRATION, ARCHIVE)},
                "kept_out_compositions": [composition.text for composition in trainer.curriculum.kept_out],
                "training": {
                    "steps": recipe.steps,
                    "batch": recipe.batch,
                    "seconds": round(trainer.seconds),
                    "device": str(trainer.device),
                    "torch": torch.__version__,
                    "train_images": len(train),
                    "held_out_images": len(held_out),
                },
                "predictor": asdict(quality),
            },
        )
    return output


def _fit_and_teach(
    recipe: Recipe,
    curriculum: Curriculum,
    supernet: Supernet,
    train: Dataset,
    held_out: Dataset,
    report: Report,
) -> tuple[Searcher, PredictorQuality]:
    """The supernet's searcher, its accuracy predictor fitted twice: what it made the searcher choose is measured, and corrects it.

    What the corrected predictor is worth is seen on genotypes, tasks and a third of the held-out images that a fit between the
    two does without. The generator then learns what the searcher finds, and the archive is filled.
    """
    spec = supernet.spec
    known = _balanced(train, recipe.seed)
    changes_NR = recipe.augmentation.draw(len(known), torch.Generator().manual_seed(recipe.seed))
    changed_NCHW = recipe.augmentation.change(torch.from_numpy(known.x_NCHW).float() / 255, changes_NR)
    for_fit, for_check = split_by_group(held_out, held_out=1 / 3, seed=recipe.seed)
    images = {
        "": (torch.from_numpy(for_fit.x_NCHW).float() / 255, torch.from_numpy(for_fit.y_N)),
        ", check": (torch.from_numpy(for_check.x_NCHW).float() / 255, torch.from_numpy(for_check.y_N)),
        ", changed": (changed_NCHW, torch.from_numpy(known.y_N)),
    }
    tasks = sample_tasks(curriculum, seed=recipe.seed)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        generator = Generator(spec)

    def measured(genes: tuple[tuple[int, ...], ...], stage: str) -> list[Measurements]:
        return [
            measure(supernet, genes, tasks, x_NCHW, y_N, _stage(report, f"{stage}{name}"))
            for name, (x_NCHW, y_N) in images.items()
        ]

    def lessons(predictor: AccuracyPredictor, number: int, seed: int, stage: str) -> tuple[Lesson, ...]:
        searcher = _searcher(spec, generator, predictor)
        smallest = recipe.smallest_limit
        return collect_lessons(searcher, curriculum, number, smallest=smallest, seed=seed, report=_stage(report, stage))

    genes = sample_genes(spec, smallest=recipe.smallest_limit, seed=recipe.seed)
    clean, fresh, changed = measured(genes, "measure")
    predictor = fit_predictor(spec, clean.with_images(fresh), changed, seed=recipe.seed)
    report("fit", 1, 3, {})
    found = {lesson.genes for lesson in lessons(predictor, SEARCHED, recipe.seed + 1, "search")} - set(genes)
    if found:
        clean, fresh, changed = (
            before.with_genotypes(more)
            for before, more in zip(
                (clean, fresh, changed), measured(tuple(sorted(found)), "measure found"), strict=True
            )
        )
    quality = assess_predictor(spec, clean, fresh, changed, seed=recipe.seed)
    report("fit", 2, 3, _known(quality))
    predictor = fit_predictor(spec, clean.with_images(fresh), changed, seed=recipe.seed)
    report("fit", 3, 3, {})
    teach(
        generator,
        lessons(predictor, LESSONS, recipe.seed + 2, "teach"),
        labels=spec.labels,
        seed=recipe.seed,
    )
    uncertainty = Uncertainty(accuracy=quality.accuracy_margin, share=quality.share_margin)
    searcher = replace(_searcher(spec, generator, predictor), uncertainty=uncertainty)
    elites = illuminate(searcher, tasks, seed=recipe.seed, report=_stage(report, "archive"))
    return replace(searcher, elites=elites), quality


def _searcher(spec: SupernetSpec, generator: Generator, predictor: AccuracyPredictor) -> Searcher:
    """Without an archive, and sure of its predictions."""
    sure = Margin(systematic=0.0, per_image=0.0, quantile=0.0)
    return Searcher(
        spec=spec,
        generator=generator,
        predictor=predictor,
        uncertainty=Uncertainty(accuracy=sure, share=sure),
        elites=Elites.none(spec),
    )


def _known(quality: PredictorQuality) -> dict[str, float]:
    return {name: value for name, value in asdict(quality).items() if isinstance(value, float)}


def _balanced(dataset: Dataset, seed: int) -> Dataset:
    """CHANGED_IMAGES in all, as many of each label where there are enough."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(dataset))
    chosen = np.zeros(len(dataset), bool)
    labels = np.unique(dataset.y_N)
    a_label = math.ceil(CHANGED_IMAGES / len(labels))
    for label in labels:
        chosen[order[dataset.y_N[order] == label][:a_label]] = True
    return dataset.take(chosen)


def _stage(report: Report, name: str) -> Callable[[int, int], None]:
    return lambda done, of: report(name, done, of, {})


def _some(dataset: Dataset, seed: int) -> NDArray[np.uint8]:
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:5000]
    picked: NDArray[np.uint8] = dataset.x_NCHW[chosen]
    return picked


def _pixel_moments(dataset: Dataset) -> Moments:
    mean_C, square_C = torch.zeros(3), torch.zeros(3)
    for part in torch.split(torch.from_numpy(dataset.x_NCHW), 2000):
        share = len(part) / len(dataset)
        x_NCHW = part.float() / 255
        mean_C += share * x_NCHW.mean((0, 2, 3))
        square_C += share * x_NCHW.square().mean((0, 2, 3))
    return Moments(mean_C=mean_C, var_C=square_C - mean_C**2)
