"""From a recipe and images to a supernet's folder: train, measure, fit, teach, synthesise, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from edgekit.assembler.generator import Generator
from edgekit.assembler.predictor import AccuracyPredictor
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.archive import Archive, measure, merged, sample_counts, sample_tasks
from edgekit.assembler.training.augmentation import augment
from edgekit.assembler.training.calibration import Moments, normalisation_statistics, synthesise
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.assembler.training.data import Dataset, read_parquet, split_by_group
from edgekit.assembler.training.fitting import PredictorQuality, fit_predictor
from edgekit.assembler.training.recipe import Recipe
from edgekit.assembler.training.teaching import Lesson, collect_lessons, teach
from edgekit.assembler.training.trainer import Trainer
from edgekit.core.errors import BadInputError
from edgekit.core.records import check_replaceable, sha256_of, whole_folder, write_bytes, write_json, writing_to
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.storage import CALIBRATION, CARD, CARD_SCHEMA, VOCABULARY, WEIGHTS
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.vocabulary import Vocabulary

SEARCHED, LESSONS = 180, 500
IMAGES_A_LABEL = 100

Report = Callable[[str, int, int, dict[str, float]], None]


def train_supernet(
    recipe_path: Path, data: Path, output: Path, *, resume: bool, overwrite: bool, report: Report
) -> Path:
    """Writes `output` whole, and checkpoints beside it in `<output>.training` on the way.

    The vocabulary is the `vocabulary.json` beside the recipe. Under `torchrun` every process trains and the first one writes.
    Raises BadInputError for unusable recipes and data, UsageError where `output` exists and may not be overwritten.
    """
    check_replaceable(output, overwrite=overwrite, marker=CARD)
    recipe = Recipe.load(recipe_path)
    vocabulary = Vocabulary.load(recipe_path.parent / VOCABULARY)
    spec = SupernetSpec.from_json(recipe.supernet, labels=len(vocabulary))
    dataset = read_parquet(data, "train", image_size=spec.image_size, labels=len(vocabulary))
    train, held_out = split_by_group(dataset, held_out=recipe.held_out, seed=recipe.seed)
    for images, lack in (
        (dataset, "no image"),
        (train, "a single group, which is held out, so no image to train with,"),
    ):
        missing = sorted(set(range(len(vocabulary))) - set(images.y_N.tolist()))
        if missing:
            raise BadInputError(
                f"{data} has {lack} of label {missing[0]}",
                hint="give images of at least a few objects (tracks) of every label",
            )

    work = output.with_name(output.name + ".training")
    with writing_to(work):
        work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, vocabulary, train, held_out, work)
    trained = trainer.run(lambda step, figures: report("train", step, recipe.steps, figures), resume=resume)
    if trainer.rank != 0:
        return output
    supernet = trained.supernet.cpu().requires_grad_(False)
    generator = trained.generator.cpu().requires_grad_(False)
    predictor, quality = _fit_and_teach(recipe, trainer.curriculum, supernet, generator, train, held_out, report)
    statistics = normalisation_statistics(supernet, torch.from_numpy(_some(train, recipe.seed)).float() / 255)
    pixel = _pixel_moments(train)
    pictures = synthesise(supernet, statistics, pixel, seed=recipe.seed, report=_stage(report, "synthesise"))

    with whole_folder(output, overwrite=overwrite, marker=CARD) as folder:
        parts = {"supernet": supernet, "generator": generator, "predictor": predictor}
        tensors = {
            f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()
        }
        write_bytes(folder / WEIGHTS, save({key: value.contiguous() for key, value in tensors.items()}))
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
                "sha256": {file: sha256_of(folder / file) for file in (WEIGHTS, CALIBRATION)},
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
    generator: Generator,
    train: Dataset,
    held_out: Dataset,
    report: Report,
) -> tuple[AccuracyPredictor, PredictorQuality]:
    """The accuracy predictor, fitted twice: what it made the searcher choose is measured, and corrects it.

    The generator then learns, in place, what the searcher finds with the corrected predictor.
    """
    x_NCHW = torch.from_numpy(held_out.x_NCHW).float() / 255
    y_N = torch.from_numpy(held_out.y_N)
    known = _balanced(train, recipe.seed)
    changed_NCHW = augment(torch.from_numpy(known.x_NCHW).float() / 255, torch.Generator().manual_seed(recipe.seed))
    changed_y_N = torch.from_numpy(known.y_N)
    tasks = sample_tasks(curriculum, seed=recipe.seed)

    def measured(counts: tuple[tuple[int, ...], ...], stage: str) -> tuple[Archive, Archive]:
        return (
            measure(supernet, counts, tasks, _channels_last(x_NCHW), y_N, _stage(report, stage)),
            measure(
                supernet, counts, tasks, _channels_last(changed_NCHW), changed_y_N, _stage(report, f"{stage}, changed")
            ),
        )

    def lessons(predictor: AccuracyPredictor, number: int, seed: int, stage: str) -> tuple[Lesson, ...]:
        searcher = Searcher(spec=supernet.spec, generator=generator, predictor=predictor)
        smallest = recipe.smallest_limit
        return collect_lessons(searcher, curriculum, number, smallest=smallest, seed=seed, report=_stage(report, stage))

    counts = sample_counts(supernet, smallest=recipe.smallest_limit, seed=recipe.seed)
    clean, changed = measured(counts, "measure")
    predictor, quality = fit_predictor(supernet.spec, clean, changed, seed=recipe.seed)
    report("fit", 1, 2, _known(quality))
    found = {lesson.counts for lesson in lessons(predictor, SEARCHED, recipe.seed + 1, "search")} - set(counts)
    clean_found, changed_found = measured(tuple(sorted(found)), "measure found")
    predictor, quality = fit_predictor(
        supernet.spec, merged(clean, clean_found), merged(changed, changed_found), seed=recipe.seed
    )
    report("fit", 2, 2, _known(quality))
    teach(
        generator,
        lessons(predictor, LESSONS, recipe.seed + 2, "teach"),
        labels=supernet.spec.labels,
        seed=recipe.seed,
    )
    return predictor, quality


def _known(quality: PredictorQuality) -> dict[str, float]:
    return {name: value for name, value in asdict(quality).items() if value is not None}


def _balanced(dataset: Dataset, seed: int) -> Dataset:
    """At most IMAGES_A_LABEL of each label."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(dataset))
    chosen = np.zeros(len(dataset), bool)
    for label in np.unique(dataset.y_N):
        chosen[order[dataset.y_N[order] == label][:IMAGES_A_LABEL]] = True
    return dataset.take(chosen)


def _channels_last(x_NCHW: torch.Tensor) -> torch.Tensor:
    return x_NCHW.contiguous(memory_format=torch.channels_last)


def _stage(report: Report, name: str) -> Callable[[int, int], None]:
    return lambda done, of: report(name, done, of, {})


def _some(dataset: Dataset, seed: int) -> NDArray[np.uint8]:
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:5000]
    picked: NDArray[np.uint8] = dataset.x_NCHW[chosen]
    return picked


def _pixel_moments(dataset: Dataset) -> Moments:
    x_NCHW = torch.from_numpy(dataset.x_NCHW).float() / 255
    return Moments(mean_C=x_NCHW.mean((0, 2, 3)), var_C=x_NCHW.var((0, 2, 3)))
