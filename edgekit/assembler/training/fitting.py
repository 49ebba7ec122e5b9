"""What is learnt once the supernet stands: the accuracy predictor, and from it the generator's last lesson."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.costs import CostTables
from edgekit.assembler.generator import BrickMacs, Generator
from edgekit.assembler.predictor import AccuracyPredictor, answers_of, counts_tensor
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.archive import Archive
from edgekit.core.budget import Budget, Cost, Share
from edgekit.core.operators import Operator
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.sampling import Composition, random_task
from edgekit.tasks.task import Task
from edgekit.tasks.vocabulary import Vocabulary

PREDICTOR_STEPS, LESSONS, LESSON_STEPS = 6000, 600, 1500


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorQuality:
    """On genotypes kept out of the fit, over tasks: mean and 90th percentile of the absolute error of the predicted accuracy,
    and the rank correlation over genotypes within a task."""

    mean_absolute_error: float
    p90_absolute_error: float
    spearman: float


def fit_predictor(
    spec: SupernetSpec, clean: Archive, augmented: Archive, *, seed: int
) -> tuple[AccuracyPredictor, PredictorQuality]:
    """Maximum likelihood of the counts of right answers, label by label.

    The changed images show confusions too rare to be seen on the clean ones; one factor on all rates stands between the two
    and is dropped at the end, so that the predictor speaks of clean images.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        predictor = AccuracyPredictor(spec)
    shift = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.AdamW([*predictor.parameters(), shift], lr=4e-3, weight_decay=1e-3)
    rng = np.random.default_rng(seed)
    counts_PB = counts_tensor(clean.counts)
    kept_out = torch.from_numpy(rng.permutation(len(counts_PB))[: len(counts_PB) // 8])
    fitted = torch.tensor(sorted(set(range(len(counts_PB))) - set(kept_out.tolist())))
    asked_of = [answers_of(task, spec.labels) for task in clean.tasks]
    for step in range(PREDICTOR_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * 0.5 * (1 + math.cos(math.pi * step / PREDICTOR_STEPS))
        task = int(rng.integers(len(clean.tasks)))
        batch = fitted[torch.from_numpy(rng.choice(len(fitted), min(48, len(fitted)), replace=False))]
        answers_L, asked = asked_of[task]
        recalls = predictor.recalls(counts_PB[batch], answers_L, asked)
        loss = torch.zeros(())
        for archive, log_factor in ((clean, torch.zeros(())), (augmented, shift)):
            images = archive.images_L[asked]
            right = archive.right_PTL[batch, task][:, asked]
            loss = loss + _negative_log_likelihood(recalls, log_factor, right, images)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    predictor = predictor.eval().requires_grad_(False)
    return predictor, _quality(predictor, clean, kept_out)


def _negative_log_likelihood(recalls: Tensor, log_factor: Tensor, right: Tensor, images: Tensor) -> Tensor:
    log_recall = recalls.clamp(1e-6, 1 - 1e-6).log() * log_factor.exp()
    wrong = images - right
    return -(right * log_recall + wrong * torch.log(-torch.expm1(log_recall))).sum() / (images.sum() * len(recalls))


def _quality(predictor: AccuracyPredictor, archive: Archive, chosen: Tensor) -> PredictorQuality:
    errors: list[Tensor] = []
    ranks: list[float] = []
    counts_PB = counts_tensor(archive.counts)[chosen]
    for index, task in enumerate(archive.tasks):
        predicted = predictor(counts_PB, task)
        measured = measured_accuracy(archive, index)[chosen]
        errors.append((predicted - measured).abs())
        if len(set(measured.tolist())) > 1:
            ranks.append(float(spearmanr(predicted.numpy(), measured.numpy()).statistic))
    error = torch.cat(errors)
    return PredictorQuality(
        mean_absolute_error=float(error.mean()),
        p90_absolute_error=float(error.quantile(0.9)),
        spearman=float(np.mean(ranks)),
    )


def measured_accuracy(archive: Archive, index: int) -> Tensor:
    """`a_P` of one task of the archive: outputs, and labels inside an output, counting alike."""
    task = archive.tasks[index]
    answers_L, asked = answers_of(task, len(archive.images_L))
    recalls = archive.right_PTL[:, index][:, asked] / archive.images_L[asked]
    outputs = answers_L[asked]
    sums = torch.zeros(len(recalls), int(outputs.max()) + 1).index_add(1, outputs, recalls)
    return (sums / outputs.bincount()).mean(1)


def teach(
    generator: Generator,
    predictor: AccuracyPredictor,
    spec: SupernetSpec,
    vocabulary: Vocabulary,
    seen: tuple[Composition, ...],
    *,
    exclude: set[frozenset[int]],
    smallest: float,
    seed: int,
    report: Callable[[int, int], None],
) -> None:
    """Trains the generator, in place, to say at once what the searcher finds for random tasks and limits."""
    rng = np.random.default_rng(seed)
    searcher = Searcher(spec=spec, generator=generator, predictor=predictor)
    least = BrickMacs.of(spec)
    floor = least.of_counts(spec.smallest.counts) / least.full
    tasks_NL, limits_N, open_NBM = [], [], []
    bricks = torch.arange(generator.bricks)
    for lesson in range(LESSONS):
        if seen and rng.random() < 0.25:
            indices = seen[int(rng.integers(len(seen)))].indices
        else:
            size = round(math.exp(rng.uniform(math.log(2), math.log(len(vocabulary) - 1))))
            indices = random_task(rng, vocabulary, size, exclude=exclude).indices
        task = Task(indices=indices, text="")
        limit = math.exp(rng.uniform(math.log(max(smallest, 1.02 * floor)), 0))
        tables = CostTables.of(spec, task, macs_only)
        found = searcher.search(task, Budget(macs=Share(fraction=limit)), tables, seed=int(rng.integers(2**31)))
        tasks_NL.append(torch.from_numpy(task.vector(len(vocabulary))))
        limits_N.append(limit)
        open_NBM.append(torch.tensor(found.genotype.counts)[:, None] > bricks)
        report(lesson + 1, LESSONS)
    task_NL, limit_N, target_NBM = torch.stack(tasks_NL), torch.tensor(limits_N), torch.stack(open_NBM).float()
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-3, weight_decay=1e-2)
    generator.train().requires_grad_(True)
    for _ in range(LESSON_STEPS):
        batch = torch.from_numpy(rng.choice(len(limit_N), min(64, len(limit_N)), replace=False))
        z_NBM = generator(task_NL[batch], limit_N[batch])
        loss = F.binary_cross_entropy_with_logits(z_NBM, target_NBM[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    generator.eval().requires_grad_(False)


def macs_only(operators: object) -> Cost:
    """A price that knows no target: MACs."""
    assert isinstance(operators, (list, tuple))  # noqa: S101
    macs = sum(operator.macs for operator in operators if isinstance(operator, Operator))
    return Cost(latency_ms=0, size_bytes=0, peak_ram_bytes=0, macs=macs)
