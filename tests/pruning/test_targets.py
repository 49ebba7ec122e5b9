"""What an output is, and how far two are apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from edgekit.pruning.targets import Answers, answers_of, loss_of


def test_outputs_are_told_apart_by_their_values() -> None:
    z_NK = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)) * 3
    assert answers_of(z_NK) is Answers.LOGITS
    assert answers_of(z_NK.softmax(1)) is Answers.PROBABILITIES
    assert answers_of(z_NK.sigmoid()) is Answers.VALUES
    assert answers_of(z_NK[:, :1]) is Answers.VALUES
    assert answers_of(z_NK[:, :, None]) is Answers.VALUES


def test_logits_and_their_probabilities_give_the_same_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    z_NK, teacher_NK = torch.randn(6, 4, generator=generator), torch.randn(6, 4, generator=generator)
    y_N = torch.tensor([0, 1, 2, 3, 0, 1])
    by_logits = loss_of(Answers.LOGITS, z_NK, teacher_NK, y_N)
    torch.testing.assert_close(loss_of(Answers.PROBABILITIES, z_NK.softmax(1), teacher_NK.softmax(1), y_N), by_logits)
    divergence = (teacher_NK.softmax(1) * (teacher_NK.log_softmax(1) - z_NK.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(by_logits, (divergence + F.cross_entropy(z_NK, y_N)) / 2)
    assert loss_of(Answers.LOGITS, teacher_NK, teacher_NK, None).item() == pytest.approx(0, abs=1e-6)


def test_values_are_compared_whatever_their_unit() -> None:
    teacher = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    one = loss_of(Answers.VALUES, teacher + 0.1, teacher, None)
    thousand = loss_of(Answers.VALUES, 1000 * (teacher + 0.1), 1000 * teacher, None)
    torch.testing.assert_close(one, thousand)
    assert loss_of(Answers.VALUES, torch.ones(2, 2), torch.ones(2, 2), None).item() == 0
