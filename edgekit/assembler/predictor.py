"""The accuracy of a genotype on a task, predicted without an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task

TRAITS = 12


class AccuracyPredictor(nn.Module):
    """Rates at which a genotype takes label i for label j, and from them its accuracy on any task.

    The rate is exp(b_ij + (c + d_ij) . traits(genotype)), traits by a small network of the open bricks; `common` is c, what a
    trait does to all pairs, and `deviation` d_ij, what it does to this pair besides. Taking the confusions of an image for
    independent, label i is recognised with probability exp(-sum of the rates to all labels that the task answers
    differently), so one table serves every task: classes, `other`, presence.

    Shapes: P genotypes, B blocks, L labels, K outputs.
    """

    def __init__(self, spec: SupernetSpec) -> None:
        super().__init__()
        bricks = [block.bricks for block in spec.blocks]
        self.labels = spec.labels
        self.steps: Tensor
        self.register_buffer(
            "steps",
            torch.tensor([[block, brick] for block, n in enumerate(bricks) for brick in range(n)]),
            persistent=False,
        )
        self.traits = nn.Sequential(
            nn.Linear(sum(bricks), 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, TRAITS)
        )
        self.base = nn.Parameter(torch.full((spec.labels, spec.labels), -6.0))
        self.common = nn.Parameter(torch.randn(TRAITS) * 0.3)
        self.deviation = nn.Parameter(torch.zeros(spec.labels, spec.labels, TRAITS))

    def recalls(self, counts_PB: Tensor, answers_L: Tensor, asked: Tensor) -> Tensor:
        """`r_PA`: the share of images of each asked label that get the task's right answer.

        `answers_L[i]` is the output that label i belongs to, -1 where the task knows no such label; `asked` lists the others.
        """
        thermometer = (counts_PB[:, self.steps[:, 0]] > self.steps[:, 1]).float()
        traits_PT = self.traits(thermometer)
        differs = answers_L[asked][:, None] != answers_L[asked][None, :]
        base = self.base[asked][:, asked]
        slope = self.common + self.deviation[asked][:, asked]
        rates = (base + torch.einsum("ijt,pt->pij", slope, traits_PT)).clamp_max(4.0).exp()
        return (-(rates * differs).sum(2)).exp()

    def forward(self, counts_PB: Tensor, task: Task) -> Tensor:
        """`a_P`: accuracy with every output, and inside an output every label, counting alike."""
        answers_L, asked = answers_of(task, self.labels)
        recalls_PA = self.recalls(counts_PB, answers_L, asked)
        outputs = answers_L[asked]
        sums = torch.zeros(len(counts_PB), int(outputs.max()) + 1).index_add(1, outputs, recalls_PA)
        return (sums / outputs.bincount()).mean(1)


def answers_of(task: Task, labels: int) -> tuple[Tensor, Tensor]:
    """(the output of each label or -1, the labels that have one)."""
    grouping = torch.from_numpy(task.grouping(labels))
    answers_L = torch.where(grouping.sum(0) > 0, grouping.argmax(0), -1)
    return answers_L, torch.nonzero(answers_L >= 0).flatten()


def counts_tensor(counts: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor(counts, dtype=torch.long).reshape(len(counts), -1)
