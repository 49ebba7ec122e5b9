"""What follows training, up to the supernet's folder: measure, fit, teach, synthesise, write."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from edgekit.assembler.elites import ARCHIVE, Elites
from edgekit.assembler.generator import Generator
from edgekit.assembler.predictor import AccuracyPredictor
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.calibration import moments_of_images, synthesise
from edgekit.assembler.training.confidence import fit_confidence
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.assembler.training.curve import CURVE
from edgekit.assembler.training.data import Dataset, split_by_group
from edgekit.assembler.training.fitting import PredictorQuality, assess_predictor, fit_predictor
from edgekit.assembler.training.illumination import illuminate
from edgekit.assembler.training.measured import MeasurementStore, Pictures
from edgekit.assembler.training.measurements import Measurements, sample_genes, sample_tasks
from edgekit.assembler.training.recipe import Recipe
from edgekit.assembler.training.teaching import Lesson, collect_lessons, teach
from edgekit.assembler.uncertainty import Margin, Uncertainty
from edgekit.core.records import sha256_of, whole_folder, write_bytes, write_json
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.storage import (
    CALIBRATION,
    CARD,
    CARD_SCHEMA,
    RECIPE,
    VOCABULARY,
    WEIGHTS,
    supernet_tensors,
    with_weights_as_stored,
)
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.vocabulary import Vocabulary

ROUNDS, SEARCHED, LESSONS = 2, 120, 400
CHANGED_IMAGES = 3000

Report = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A trained supernet; `facts` of its training are for the card, `curve` is its learning curve, empty where there is none."""

    recipe_path: Path
    recipe: Recipe
    vocabulary: Vocabulary
    supernet: Supernet
    facts: Mapping[str, object]
    curve: bytes


def finish(
    finished: Finished,
    train: Dataset,
    held_out: Dataset,
    output: Path,
    *,
    store: MeasurementStore,
    overwrite: bool,
    report: Report,
) -> None:
    """Writes the folder `output` whole."""
    recipe = finished.recipe
    # torch's type stubs do not know `memory_format`. Trained or read from a folder, it must compute the same.
    supernet = finished.supernet.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    supernet = with_weights_as_stored(supernet)
    curriculum = Curriculum.of(finished.vocabulary, seed=recipe.seed)
    searcher, quality = _fit_and_teach(recipe, curriculum, supernet, train, held_out, store, report)
    confidence = fit_confidence(supernet, searcher, held_out, recipe.augmentation, seed=recipe.seed)
    wanted = moments_of_images(supernet, torch.from_numpy(_some(train, recipe.seed)).float() / 255)
    pictures = synthesise(supernet, wanted, seed=recipe.seed, report=stage_of(report, "synthesise"))

    with whole_folder(output, overwrite=overwrite, marker=CARD) as folder:
        parts = {"generator": searcher.generator, "predictor": searcher.predictor}
        others = {
            f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()
        }
        tensors = supernet_tensors(supernet) | {key: value.contiguous() for key, value in others.items()}
        write_bytes(folder / WEIGHTS, save(tensors))
        searcher.elites.save(folder / ARCHIVE)
        write_bytes(folder / CALIBRATION, save({"x_NHWC": pictures.permute(0, 2, 3, 1).contiguous()}))
        finished.vocabulary.save(folder / VOCABULARY)
        write_bytes(folder / RECIPE, finished.recipe_path.read_bytes())
        if finished.curve:
            write_bytes(folder / CURVE, finished.curve)
        write_json(
            folder / CARD,
            {
                "schema_version": CARD_SCHEMA,
                "name": recipe.name,
                "data": recipe.data,
                "licence": recipe.licence,
                "supernet": supernet.spec.to_json(),
                "parameters": sum(parameter.numel() for parameter in supernet.parameters()),
                "sha256": {file: sha256_of(folder / file) for file in (WEIGHTS, CALIBRATION, ARCHIVE, VOCABULARY)},
                "kept_out_compositions": [composition.text for composition in curriculum.kept_out],
                "training": dict(finished.facts),
                "predictor": asdict(quality),
                "confidence": asdict(confidence),
            },
        )


def _fit_and_teach(
    recipe: Recipe,
    curriculum: Curriculum,
    supernet: Supernet,
    train: Dataset,
    held_out: Dataset,
    store: MeasurementStore,
    report: Report,
) -> tuple[Searcher, PredictorQuality]:
    """The supernet's searcher, its accuracy predictor corrected ROUNDS times: what it made the searcher choose is measured.

    What the corrected predictor is worth is seen on genotypes, tasks and a third of the held-out images that a fit before the
    last one does without. The generator then learns what the searcher finds, and the archive is filled.
    """
    spec = supernet.spec
    known = _balanced(train, recipe.seed)
    changes_NR = recipe.augmentation.draw(len(known), torch.Generator().manual_seed(recipe.seed))
    changed_NCHW = recipe.augmentation.change(torch.from_numpy(known.x_NCHW).float() / 255, changes_NR)
    for_fit, for_check = split_by_group(held_out, held_out=1 / 3, seed=recipe.seed)
    images = {
        "": _pictures(for_fit),
        ", check": _pictures(for_check),
        ", changed": replace(_pictures(known, how=f"{recipe.augmentation} {recipe.seed}"), x_NCHW=changed_NCHW),
    }
    tasks = sample_tasks(curriculum, seed=recipe.seed)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        generator = Generator(spec)

    def measured(genes: tuple[tuple[int, ...], ...], stage: str) -> list[Measurements]:
        return [
            store.measured(
                f"{stage}{name}".replace(", ", "-").replace(" ", "-"),
                supernet,
                genes,
                tasks,
                pictures,
                stage_of(report, f"{stage}{name}"),
            )
            for name, pictures in images.items()
        ]

    def lessons(predictor: AccuracyPredictor, number: int, seed: int, stage: str) -> tuple[Lesson, ...]:
        searcher = _searcher(spec, generator, predictor)
        smallest = recipe.smallest_limit
        return collect_lessons(
            searcher, curriculum, number, smallest=smallest, seed=seed, report=stage_of(report, stage)
        )

    genes = sample_genes(spec, smallest=recipe.smallest_limit, seed=recipe.seed)
    clean, fresh, changed = measured(genes, "measure")
    for done in range(ROUNDS):
        predictor = fit_predictor(spec, clean.with_images(fresh), changed, seed=recipe.seed)
        report("fit", 1 + done, 2 + ROUNDS, {})
        searched = lessons(predictor, SEARCHED, recipe.seed + 1 + done, f"search {1 + done}")
        if found := {lesson.genes for lesson in searched} - set(clean.genes):
            more = measured(tuple(sorted(found)), f"measure found {1 + done}")
            clean, fresh, changed = (
                before.with_genotypes(others) for before, others in zip((clean, fresh, changed), more, strict=True)
            )
    quality = assess_predictor(spec, clean, fresh, changed, seed=recipe.seed)
    report("fit", 1 + ROUNDS, 2 + ROUNDS, _known(quality))
    predictor = fit_predictor(spec, clean.with_images(fresh), changed, seed=recipe.seed)
    report("fit", 2 + ROUNDS, 2 + ROUNDS, {})
    teach(
        generator,
        lessons(predictor, LESSONS, recipe.seed + 1 + ROUNDS, "teach"),
        labels=spec.labels,
        seed=recipe.seed,
    )
    uncertainty = Uncertainty(accuracy=quality.accuracy_margin, share=quality.share_margin)
    searcher = replace(_searcher(spec, generator, predictor), uncertainty=uncertainty)
    elites = illuminate(searcher, tasks, seed=recipe.seed, report=stage_of(report, "archive"))
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


def _pictures(dataset: Dataset, *, how: str = "") -> Pictures:
    origin = hashlib.sha256(dataset.x_NCHW.tobytes()).hexdigest() + how
    return Pictures(
        x_NCHW=torch.from_numpy(dataset.x_NCHW).float() / 255, y_N=torch.from_numpy(dataset.y_N), origin=origin
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


def stage_of(report: Report, name: str) -> Callable[[int, int], None]:
    return lambda done, of: report(name, done, of, {})


def _some(dataset: Dataset, seed: int) -> NDArray[np.uint8]:
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:5000]
    picked: NDArray[np.uint8] = dataset.x_NCHW[chosen]
    return picked
