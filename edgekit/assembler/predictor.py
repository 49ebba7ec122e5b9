"""The accuracy of a genotype on a task, predicted without an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task

TRAITS = 12
PAIRS_AT_ONCE = 160_000
LOG_ALPHA = (-3.0, 7.0)


class AccuracyPredictor(nn.Module):
    """Rates at which a genotype takes label i for label j, and from them its accuracy on any task.

    The rate is exp(level + mistaken_i + answered_j + b_ij + (c + d_ij) . traits(genotype)), traits by a small network of the
    genes; `common` is c, what a trait does to all pairs, and `deviation` d_ij, what it does to this pair besides. One table
    serves every task (classes, `other`, presence): for an image of label i all rates to labels that the task answers
    differently add up, to s.

    Images differ in difficulty: those that are taken for one wrong label are taken for others too, so that twenty labels cost
    less than five times what four do. All rates of an image are multiplied by a difficulty of its own, Gamma distributed with
    mean 1 and shape alpha ("frailty": Vaupel, Manton and Stallard, Demography 16, 1979). Label i is then recognised with
    probability (1 + s / alpha)^-alpha; as alpha grows confusions become independent, exp(-s). `shape` is the logarithm of
    alpha, with a part for each label and one for each trait.

    Outputs of several labels (`other`, present, absent) win by the sum of their probabilities: `majority` tilts a rate by the
    logarithm of how many labels more the other output has, and `summed` and `shape_of_summed` are for tasks with such outputs.

    Shapes: P genotypes, G genes, L labels, K outputs.
    """

    def __init__(self, spec: SupernetSpec) -> None:
        super().__init__()
        self.labels, self.image_sizes = spec.labels, len(spec.image_sizes)
        self.log_most_B: Tensor
        most = torch.tensor([block.bricks for block in spec.blocks], dtype=torch.float32)
        self.register_buffer("log_most_B", most.log2(), persistent=False)
        self.traits = nn.Sequential(
            nn.Linear(self.image_sizes + len(spec.blocks) + 1, 64),
            nn.SiLU(),
            nn.Linear(64, 64),
            nn.SiLU(),
            nn.Linear(64, TRAITS),
        )
        self.level = nn.Parameter(torch.tensor(-3.0))
        self.mistaken = nn.Parameter(torch.zeros(spec.labels))
        self.answered = nn.Parameter(torch.zeros(spec.labels))
        self.majority = nn.Parameter(torch.zeros(()))
        self.summed = nn.Parameter(torch.zeros(()))
        self.shape_of_summed = nn.Parameter(torch.zeros(()))
        self.base = nn.Parameter(torch.zeros(spec.labels, spec.labels))
        self.common = nn.Parameter(torch.randn(TRAITS) * 0.3)
        self.deviation = nn.Parameter(torch.zeros(spec.labels, spec.labels, TRAITS))
        self.shape = nn.Parameter(torch.tensor(-0.7))
        self.shape_of_label = nn.Parameter(torch.zeros(spec.labels))
        self.shape_of_trait = nn.Parameter(torch.zeros(TRAITS))

    def recalls(self, genes_PG: Tensor, answers_L: Tensor, asked: Tensor) -> Tensor:
        """`r_PA`: the share of images of each asked label that get the task's right answer.

        `answers_L[i]` is the output that label i belongs to, -1 where the task knows no such label; `asked` lists the others.
        """
        return self.recalls_of_pairs(genes_PG, self.pairs(answers_L, asked))

    def pairs(self, answers_L: Tensor, asked: Tensor) -> tuple[Pairs, ...]:
        """All pairs that the task must tell apart, in blocks: the labels with an output of their own, then each other output's."""
        outputs_A = answers_L[asked]
        labels = outputs_A.bincount()
        alone = labels[outputs_A] == 1
        blocks = [(alone, torch.ones_like(alone))]
        blocks += [(outputs_A == output, outputs_A != output) for output in torch.nonzero(labels > 1).flatten()]
        return tuple(
            self._block(torch.nonzero(rows).flatten(), columns, asked, labels[outputs_A].float().log())
            for rows, columns in blocks
            if rows.any()
        )

    def _block(self, rows: Tensor, columns: Tensor, asked: Tensor, log_size_A: Tensor) -> Pairs:
        mine, theirs = asked[rows], asked[columns]
        larger = log_size_A[columns] - log_size_A[rows][:, None]
        summed = (log_size_A > 0).any().float()
        slope_RCT = self.common + self.deviation[mine][:, theirs]
        return Pairs(
            rows=rows,
            shape_R=self.shape + self.shape_of_label[mine] + self.shape_of_summed * summed,
            base_Q=(self._base(mine, theirs) + self.majority * larger + self.summed * summed)
            .masked_fill(mine[:, None] == theirs, -torch.inf)
            .flatten(),
            slope_TQ=slope_RCT.flatten(0, 1).T.contiguous(),
        )

    def _base(self, mine: Tensor, theirs: Tensor) -> Tensor:
        of_labels = self.level + self.mistaken[mine][:, None] + self.answered[theirs]
        base: Tensor = of_labels + self.base[mine][:, theirs]
        return base

    def traits_of(self, genes_PG: Tensor) -> Tensor:
        """`traits_PT`, smooth in the logarithm of each block's number of bricks, a closed block being half a brick; but for
        networks with every brick open, which are trained for longest and stand out from their neighbours."""
        size_PS = F.one_hot(genes_PG[:, 0], self.image_sizes) - 1 / self.image_sizes
        log_count_PB = genes_PG[:, 1:].float().clamp_min(0.5).log2()
        all_open_P1 = (log_count_PB == self.log_most_B).all(dim=1, keepdim=True).float()
        features = torch.cat([size_PS, log_count_PB - self.log_most_B / 2, all_open_P1], dim=1)
        traits_PT: Tensor = self.traits(features)
        return traits_PT

    def recalls_of_pairs(self, genes_PG: Tensor, blocks: Sequence[Pairs]) -> Tensor:
        """`recalls` where many genotypes are judged for one task, one batch after the other."""
        rates_PA, alpha_PA = self.difficulties_of_pairs(genes_PG, blocks)
        return torch.exp(-alpha_PA * torch.log1p(rates_PA / alpha_PA))

    def difficulties_of_pairs(self, genes_PG: Tensor, blocks: Sequence[Pairs]) -> tuple[Tensor, Tensor]:
        """(`s_PA`, `alpha_PA`): the sum of each asked label's rates for an image of mean difficulty, and the shape of its images'
        difficulties."""
        traits_PT = self.traits_of(genes_PG)
        rates_PA = torch.cat([pairs.rates(traits_PT) for pairs in blocks], dim=1)
        shape_A = torch.cat([pairs.shape_R for pairs in blocks])
        alpha_PA = (shape_A + (traits_PT @ self.shape_of_trait)[:, None]).clamp(*LOG_ALPHA).exp()
        order = torch.cat([pairs.rows for pairs in blocks]).argsort()
        return rates_PA[:, order], alpha_PA[:, order]

    def forward(self, genes_PG: Tensor, task: Task) -> Tensor:
        """`a_P`: accuracy with every output, and inside an output every label, counting alike."""
        answers_L, asked = answers_of(task, self.labels)
        return self.recalls(genes_PG, answers_L, asked).double() @ weights_of(answers_L[asked])


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Q = R x C pairs of labels: those at `rows` of the asked ones, and what they may be taken for.

    The rate's logarithm is `base_Q + traits @ slope_TQ`, the base -inf where a label would be taken for itself; `shape_R` is the
    labels' part of the logarithm of alpha.
    """

    rows: Tensor
    shape_R: Tensor
    base_Q: Tensor
    slope_TQ: Tensor

    def rates(self, traits_PT: Tensor) -> Tensor:
        """`s_PR`: the sum of each label's rates."""
        # What a few genotypes need at once stays in the processor's cache: six times as fast as all together.
        at_once = max(1, PAIRS_AT_ONCE // max(1, len(self.base_Q)))
        sums = [
            torch.addmm(self.base_Q, some_PT, self.slope_TQ)
            .clamp_max(6.0)
            .exp()
            .view(len(some_PT), len(self.rows), -1)
            .sum(2)
            for some_PT in torch.split(traits_PT, at_once)
        ]
        return torch.cat(sums)


def answers_of(task: Task, labels: int) -> tuple[Tensor, Tensor]:
    """(the output of each label or -1, the labels that have one)."""
    grouping = torch.from_numpy(task.grouping(labels))
    answers_L = torch.where(grouping.sum(0) > 0, grouping.argmax(0), -1)
    return answers_L, torch.nonzero(answers_L >= 0).flatten()


def weights_of(outputs_A: Tensor) -> Tensor:
    """`w_A` in float64, which sum to 1: outputs count alike, and labels of one output."""
    labels = outputs_A.bincount()
    return 1 / (labels[outputs_A] * (labels > 0).sum()).double()


def genes_tensor(genes: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor(genes, dtype=torch.long).reshape(len(genes), -1)
