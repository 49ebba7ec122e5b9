"""Fits the accuracy predictor to what a trained supernet was measured to do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from edgekit.assembler.predictor import AccuracyPredictor, answers_of, counts_tensor
from edgekit.assembler.training.archive import Archive
from edgekit.supernet.spec import SupernetSpec

PREDICTOR_STEPS = 6000
# Chosen on held-out tracks: weaker, and tasks chase noise; stronger, and all tasks get the same genotype.
SHRINKAGE = 0.003


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorQuality:
    """On genotypes kept out of the fit, over tasks: mean and 90th percentile of the absolute error of the predicted accuracy,
    and the rank correlation over genotypes within a task (None where no task tells them apart)."""

    mean_absolute_error: float
    p90_absolute_error: float
    spearman: float | None


def fit_predictor(
    spec: SupernetSpec, clean: Archive, augmented: Archive, *, seed: int
) -> tuple[AccuracyPredictor, PredictorQuality]:
    """Maximum likelihood of the counts of right answers, label by label.

    The changed training images show, for many more objects, confusions too rare to be seen on the held-out ones; one factor
    on all rates stands between the two and is dropped at the end, so that the predictor speaks of unseen, clean images.
    What sets pairs of labels apart is shrunk towards what is common to all.
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
        loss = SHRINKAGE * (predictor.deviation**2).sum() / spec.labels
        for archive, log_factor in ((clean, torch.zeros(())), (augmented, shift)):
            images = archive.images_L[asked]
            right = archive.right_PTL[batch, task][:, asked]
            loss = loss + _negative_log_likelihood(recalls, log_factor, right, images)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
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
        if min(len(set(measured.tolist())), len(set(predicted.tolist()))) > 1:
            ranks.append(float(spearmanr(predicted.numpy(), measured.numpy()).statistic))
    error = torch.cat(errors)
    return PredictorQuality(
        mean_absolute_error=float(error.mean()),
        p90_absolute_error=float(error.quantile(0.9)),
        spearman=float(np.mean(ranks)) if ranks else None,
    )


def measured_accuracy(archive: Archive, index: int) -> Tensor:
    """`a_P` of one task of the archive: outputs, and labels inside an output, counting alike."""
    task = archive.tasks[index]
    answers_L, asked = answers_of(task, len(archive.images_L))
    recalls = archive.right_PTL[:, index][:, asked] / archive.images_L[asked]
    outputs = answers_L[asked]
    sums = torch.zeros(len(recalls), int(outputs.max()) + 1).index_add(1, outputs, recalls)
    return (sums / outputs.bincount()).mean(1)
