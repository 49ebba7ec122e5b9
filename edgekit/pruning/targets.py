"""What a pruned network is to answer: its labels, the answers of the network it comes from, or both."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


class Answers(StrEnum):
    """What a network's output is, told from what it answers."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    VALUES = "values"


def answers_of(z: Tensor) -> Answers:
    """`z` are outputs (N, ...): rows of K >= 2 that sum to 1 are probabilities, rows that leave
    [0, 1] are logits, all else is values.
    """
    if z.ndim != 2 or z.shape[1] < 2:
        return Answers.VALUES
    bounded = bool(((z >= -1e-5) & (z <= 1 + 1e-5)).all())
    if bounded:
        sums_to_1 = bool(((z.sum(1) - 1).abs() < 1e-3).all())
        return Answers.PROBABILITIES if sums_to_1 else Answers.VALUES
    return Answers.LOGITS


def loss_of(answers: Answers, z: Tensor, teacher_z: Tensor, y_N: Tensor | None) -> Tensor:
    """Of a batch, its mean.

    Of a classifier the divergence KL(teacher, pruned), and where there are labels the mean of that and their cross-entropy;
    of values the squared error in units of the teacher's variance.
    """
    if answers is Answers.VALUES:
        return F.mse_loss(z, teacher_z) / teacher_z.var(correction=0).clamp_min(1e-12)
    log_NK, teacher_NK = _log(answers, z), _log(answers, teacher_z)
    agreement = F.kl_div(log_NK, teacher_NK, reduction="batchmean", log_target=True)
    return agreement if y_N is None else (agreement + F.nll_loss(log_NK, y_N)) / 2


def _log(answers: Answers, z_NK: Tensor) -> Tensor:
    """Logarithms of the probabilities."""
    if answers is Answers.LOGITS:
        return F.log_softmax(z_NK, 1)
    return torch.log(z_NK.clamp_min(1e-8))


def cross_entropy(answers: Answers, z_NK: Tensor, y_N: Tensor) -> Tensor:
    """Of a classifier's outputs with labels, the mean."""
    return F.nll_loss(_log(answers, z_NK), y_N)
