"""The generator's last lessons: to say at once what the searcher finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.costs import CostTables
from edgekit.assembler.generator import BrickMacs, Generator
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.core.budget import Budget, Cost, Share
from edgekit.core.operators import Operator
from edgekit.tasks.task import Task

LESSON_STEPS = 1500
BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """For these labels and this share of the full MACs, the searcher finds these genes."""

    indices: tuple[int, ...]
    limit: float
    genes: tuple[int, ...]


def collect_lessons(
    searcher: Searcher,
    curriculum: Curriculum,
    number: int,
    *,
    smallest: float,
    seed: int,
    report: Callable[[int, int], None],
) -> tuple[Lesson, ...]:
    """What the searcher finds for random tasks and limits, log-uniform from `smallest` (or what is possible) to 1."""
    rng = np.random.default_rng(seed)
    spec = searcher.spec
    macs = BrickMacs.of(spec, 0)
    least = max(smallest, 1.02 * macs.of_counts(spec.smallest.counts) / macs.full)
    lessons = []
    for done in range(number):
        task = Task(indices=curriculum.draw(rng), text="")
        limit = math.exp(rng.uniform(math.log(least), 0))
        tables = CostTables.of(spec, task, macs_only)
        found = searcher.search(task, Budget(macs=Share(fraction=limit)), tables, seed=int(rng.integers(2**31)))
        lessons.append(Lesson(indices=task.indices, limit=limit, genes=spec.genes(found.genotype)))
        report(done + 1, number)
    return tuple(lessons)


def teach(generator: Generator, lessons: Sequence[Lesson], *, labels: int, seed: int) -> None:
    """Trains the generator in place until a brick's logit says whether the lesson opens it."""
    rng = np.random.default_rng(seed)
    task_NL = torch.zeros(len(lessons), labels)
    for row, lesson in enumerate(lessons):
        task_NL[row, list(lesson.indices)] = 1
    limit_N = torch.tensor([lesson.limit for lesson in lessons])
    genes_NG = torch.tensor([lesson.genes for lesson in lessons])
    target_NBM = (genes_NG[:, 1:, None] > torch.arange(generator.bricks)).float()
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-3, weight_decay=1e-2)
    generator.train().requires_grad_(True)
    for _ in range(LESSON_STEPS):
        batch = torch.from_numpy(rng.choice(len(lessons), min(BATCH, len(lessons)), replace=False))
        loss = F.binary_cross_entropy_with_logits(
            generator(task_NL[batch], limit_N[batch], genes_NG[batch, 0]), target_NBM[batch]
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    generator.eval().requires_grad_(False)


def macs_only(operators: Sequence[Operator]) -> Cost:
    """A price that knows no target: MACs."""
    return Cost(latency_ms=0, size_bytes=0, peak_ram_bytes=0, macs=sum(operator.macs for operator in operators))
