"""Fits the accuracy predictor to what a trained supernet was measured to do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from edgekit.assembler.predictor import TRAITS, AccuracyPredictor, answers_of, genes_tensor, weights_of
from edgekit.assembler.training.conformal import calibrated
from edgekit.assembler.training.measurements import Measurements
from edgekit.assembler.uncertainty import Margin
from edgekit.supernet.spec import SupernetSpec

PREDICTOR_STEPS, LEARNING_RATE = 3000, 1.5e-2
# Of pairs: keeps what few images say of a pair from standing in for what holds for all.
SHRINKAGE_OF_PAIRS = 0.001
# Chosen by what genotypes predicted best do on kept-out tasks: weaker, and tasks chase noise. The likelihood of kept-out tasks
# prefers a hundredth of it, by a hair, and chooses worse genotypes.
SHRINKAGE = 0.3
KEPT_OUT = 1 / 6


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorQuality:
    """On genotypes, each on tasks, that were both kept out of a fit: mean and 90th percentile of the absolute error of the
    predicted accuracy, and the rank correlation over genotypes within a task (None where no task tells them apart).

    The margins, and `coverage`, the share of measured accuracies inside such intervals, come from images kept out besides; see
    `conformal`.
    """

    mean_absolute_error: float
    p90_absolute_error: float
    spearman: float | None
    coverage: float
    accuracy_margin: Margin
    share_margin: Margin


def assess_predictor(
    spec: SupernetSpec, clean: Measurements, fresh: Measurements, augmented: Measurements, *, seed: int
) -> PredictorQuality:
    """Fits a predictor to a part of the genotypes and tasks, without the `fresh` images, and judges it on the others."""
    rng = np.random.default_rng(seed)
    genotypes, tasks = (_parted(rng.permutation(count).tolist()) for count in (len(clean.genes), len(clean.tasks)))
    fitted, kept_out = zip(genotypes, tasks, strict=True)
    predictor = fit_predictor(spec, clean.part(*fitted), augmented.part(*fitted), seed=seed)
    uncertainty, coverage = calibrated(predictor, fresh.part(*kept_out).seen())
    errors, ranks = _errors_and_ranks(predictor, clean.part(*kept_out).seen())
    return PredictorQuality(
        mean_absolute_error=float(errors.mean()),
        p90_absolute_error=float(errors.quantile(0.9)),
        spearman=float(np.mean(ranks)) if ranks else None,
        coverage=coverage,
        accuracy_margin=uncertainty.accuracy,
        share_margin=uncertainty.share,
    )


def _parted(order: list[int]) -> tuple[list[int], list[int]]:
    """(most, the KEPT_OUT share of them, two at least)."""
    number = max(2, round(KEPT_OUT * len(order)))
    return order[number:], order[:number]


def fit_predictor(spec: SupernetSpec, clean: Measurements, augmented: Measurements, *, seed: int) -> AccuracyPredictor:
    """Maximum likelihood of the counts of right answers, label by label.

    The changed training images show, for many more objects, confusions too rare to be seen on the held-out ones. A factor on
    all rates, of each genotype's traits since larger networks remember more of their training, stands between the two and is
    dropped at the end, so that the predictor speaks of unseen, clean images. What sets pairs of labels apart is shrunk towards
    what is common to all.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        predictor = AccuracyPredictor(spec)
    shift, shift_T = torch.zeros((), requires_grad=True), torch.zeros(TRAITS, requires_grad=True)
    optimizer = torch.optim.AdamW([*predictor.parameters(), shift, shift_T], lr=LEARNING_RATE, weight_decay=1e-3)
    rng = np.random.default_rng(seed)
    genes_PG = genes_tensor(clean.genes)
    asked_of = [answers_of(task, spec.labels) for task in clean.tasks]
    for step in range(PREDICTOR_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / PREDICTOR_STEPS))
        task = int(rng.integers(len(clean.tasks)))
        batch = torch.from_numpy(rng.choice(len(genes_PG), min(48, len(genes_PG)), replace=False))
        answers_L, asked = asked_of[task]
        recalls = predictor.recalls(genes_PG[batch], answers_L, asked)
        loss = SHRINKAGE * (predictor.deviation**2).sum() / spec.labels
        loss = loss + SHRINKAGE_OF_PAIRS * (predictor.base**2).sum() / spec.labels
        log_factor_P1 = shift + (predictor.traits_of(genes_PG[batch]) @ shift_T)[:, None]
        for measured, log_factor in ((clean, torch.zeros(())), (augmented, log_factor_P1)):
            images = measured.images_L[asked]
            right = measured.right_PTL[batch, task][:, asked]
            loss = loss + _negative_log_likelihood(recalls, log_factor, right, images)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return predictor.eval().requires_grad_(False)


def _negative_log_likelihood(recalls: Tensor, log_factor: Tensor, right: Tensor, images: Tensor) -> Tensor:
    log_recall = recalls.clamp(1e-6, 1 - 1e-6).log() * log_factor.exp()
    wrong = images - right
    # There may be no image of any label of a task.
    counted = images.sum().clamp_min(1) * len(recalls)
    return -(right * log_recall + wrong * torch.log(-torch.expm1(log_recall))).sum() / counted


def _errors_and_ranks(predictor: AccuracyPredictor, measured: Measurements) -> tuple[Tensor, list[float]]:
    """Absolute errors over genotypes and tasks, and the rank correlation of each task that tells genotypes apart."""
    errors: list[Tensor] = []
    ranks: list[float] = []
    for index in range(len(measured.tasks)):
        predicted, seen = predicted_and_measured(predictor, measured, index)
        errors.append((predicted - seen).abs())
        if min(len(set(seen.tolist())), len(set(predicted.tolist()))) > 1:
            ranks.append(float(spearmanr(predicted.numpy(), seen.numpy()).statistic))
    return torch.cat(errors), ranks


def predicted_and_measured(predictor: AccuracyPredictor, measured: Measurements, index: int) -> tuple[Tensor, Tensor]:
    """`a_P` of one task, twice: outputs, and labels inside an output, count alike; labels without an image in neither."""
    answers_L, asked = answers_of(measured.tasks[index], len(measured.images_L))
    seen = measured.images_L[asked] > 0
    predicted_PA = predictor.recalls(genes_tensor(measured.genes), answers_L, asked)[:, seen]
    asked = asked[seen]
    measured_PA = measured.right_PTL[:, index][:, asked] / measured.images_L[asked]
    weights_A = weights_of(answers_L[asked])
    return predicted_PA.double() @ weights_A, measured_PA.double() @ weights_A
