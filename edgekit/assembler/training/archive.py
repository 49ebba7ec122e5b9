"""(task, genotype, accuracy) samples of a trained supernet on held-out images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from edgekit.assembler.generator import BrickMacs, open_within
from edgekit.assembler.predictor import answers_of
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.subnet import task_probabilities
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task, TaskKind

GENOTYPES, TASKS = 420, 320


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """`right_PTL`: how many images of label l genotype p answers rightly on task t; `images_L` of them there are."""

    counts: tuple[tuple[int, ...], ...]
    tasks: tuple[Task, ...]
    right_PTL: Tensor
    images_L: Tensor


def sample_counts(supernet: Supernet, *, smallest: float, seed: int) -> tuple[tuple[int, ...], ...]:
    """Numbers of open bricks over the whole range of sizes, more of the small ones; the full and the smallest are there."""
    rng = np.random.default_rng(seed)
    spec = supernet.spec
    macs = BrickMacs.of(spec)
    bricks = max(block.bricks for block in spec.blocks)
    found = {spec.full.counts: None, spec.smallest.counts: None}
    for _ in range(50 * GENOTYPES):
        if len(found) >= GENOTYPES:
            break
        falling = np.sort(rng.random((len(spec.blocks), bricks)))[:, ::-1] + rng.normal(0, 0.3, (len(spec.blocks), 1))
        limit = math.exp(rng.uniform(math.log(smallest), 0))
        found[open_within(falling, spec, macs, limit)] = None
    return tuple(found)


def sample_tasks(curriculum: Curriculum, *, seed: int) -> tuple[Task, ...]:
    """Tasks of the curriculum, a third of them asked as presence or with `other`, and the one of all labels."""
    rng = np.random.default_rng(seed)
    tasks = []
    for number in range(TASKS):
        kind = TaskKind.PRESENCE if number % 6 == 4 else TaskKind.CLASSIFY
        tasks.append(Task(kind=kind, indices=curriculum.draw(rng), other=number % 6 == 5, text=""))
    return (*tasks, Task(indices=tuple(range(len(curriculum.vocabulary))), text=""))


def merged(first: Archive, second: Archive) -> Archive:
    """Two archives of the same tasks and images as one."""
    return replace(
        first,
        counts=first.counts + second.counts,
        right_PTL=torch.cat([first.right_PTL, second.right_PTL]),
    )


@torch.no_grad()
def measure(
    supernet: Supernet,
    counts: tuple[tuple[int, ...], ...],
    tasks: tuple[Task, ...],
    x_NCHW: Tensor,
    y_N: Tensor,
    report: Callable[[int, int], None],
) -> Archive:
    """Runs every genotype once over the images; all tasks are answered from the same logits."""
    labels = supernet.spec.labels
    right_PTL = torch.zeros(len(counts), len(tasks), labels)
    for number, of_blocks in enumerate(counts):
        genotype = Genotype.prefix(of_blocks)
        z_NL = torch.cat([supernet(batch, genotype) for batch in torch.split(x_NCHW, 500)]).float()
        for index, task in enumerate(tasks):
            right_PTL[number, index] = y_N[right_answers(z_NL, y_N, task)].bincount(minlength=labels)
        report(number + 1, len(counts))
    return Archive(counts=counts, tasks=tasks, right_PTL=right_PTL, images_L=y_N.bincount(minlength=labels))


def right_answers(z_NL: Tensor, y_N: Tensor, task: Task) -> Tensor:
    """Which images of labels that the task knows are answered rightly from logits over the whole vocabulary."""
    answers_L, _ = answers_of(task, z_NL.shape[1])
    right: Tensor = answers_L[y_N] == task_probabilities(z_NL, task).argmax(1)
    return right
