"""What a trained supernet answers rightly: (task, genotype) pairs on images that trained nothing, and on changed ones that did."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from edgekit.assembler.generator import BrickMacs, open_within
from edgekit.assembler.predictor import answers_of
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.supernet.resizing import resized
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.subnet import task_probabilities
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Group, Task, TaskKind

GENOTYPES, TASKS = 420, 320


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurements:
    """`right_PTL`: how many images of label l genotype p answers rightly on task t; `both_PTL`: how many of these the full
    supernet answers rightly too. `full_right_TL` are the full supernet's own, `images_L` all that there are."""

    genes: tuple[tuple[int, ...], ...]
    full_genes: tuple[int, ...]
    tasks: tuple[Task, ...]
    right_PTL: Tensor
    both_PTL: Tensor
    full_right_TL: Tensor
    images_L: Tensor

    def part(self, genotypes: Sequence[int], tasks: Sequence[int]) -> Measurements:
        """Of some genotypes on some tasks, by index."""
        return replace(
            self,
            genes=tuple(self.genes[index] for index in genotypes),
            tasks=tuple(self.tasks[index] for index in tasks),
            right_PTL=self.right_PTL[list(genotypes)][:, list(tasks)],
            both_PTL=self.both_PTL[list(genotypes)][:, list(tasks)],
            full_right_TL=self.full_right_TL[list(tasks)],
        )

    def seen(self) -> Measurements:
        """Of the tasks that there are images for."""
        asked = [answers_of(task, len(self.images_L))[1] for task in self.tasks]
        tasks = [index for index, labels in enumerate(asked) if self.images_L[labels].sum() > 0]
        return self.part(range(len(self.genes)), tasks)

    def with_genotypes(self, others: Measurements) -> Measurements:
        """Those of other genotypes on the same tasks and images added."""
        return replace(
            self,
            genes=self.genes + others.genes,
            right_PTL=torch.cat([self.right_PTL, others.right_PTL]),
            both_PTL=torch.cat([self.both_PTL, others.both_PTL]),
        )

    def with_images(self, others: Measurements) -> Measurements:
        """The counts on other images added, of the same genotypes on the same tasks."""
        return replace(
            self,
            right_PTL=self.right_PTL + others.right_PTL,
            both_PTL=self.both_PTL + others.both_PTL,
            full_right_TL=self.full_right_TL + others.full_right_TL,
            images_L=self.images_L + others.images_L,
        )


def sample_genes(spec: SupernetSpec, *, smallest: float, seed: int) -> tuple[tuple[int, ...], ...]:
    """Genes over the whole range of sizes, more of the small ones; the full and the smallest are there."""
    rng = np.random.default_rng(seed)
    macs = [BrickMacs.of(spec, size) for size in range(len(spec.image_sizes))]
    bricks = max(block.bricks for block in spec.blocks)
    found = {spec.most_genes: None, spec.least_genes: None}
    for _ in range(50 * GENOTYPES):
        if len(found) >= GENOTYPES:
            break
        falling = np.sort(rng.random((len(spec.blocks), bricks)))[:, ::-1] + rng.normal(0, 0.3, (len(spec.blocks), 1))
        limit = math.exp(rng.uniform(math.log(smallest), 0))
        size = int(rng.integers(len(spec.image_sizes)))
        found[(size, *open_within(falling, spec, macs[size], limit))] = None
    return tuple(found)


def sample_tasks(curriculum: Curriculum, *, seed: int) -> tuple[Task, ...]:
    """Tasks of the curriculum, half of them asked as presence, in groups or with `other`, and the one of all labels."""
    rng = np.random.default_rng(seed)
    tasks = []
    for number in range(TASKS):
        indices, asked = curriculum.draw(rng), number % 6
        if asked == 3 and len(indices) > 2:
            groups = _groups(indices, rng)
            tasks.append(Task(kind=TaskKind.GROUPED, indices=indices, groups=groups, other=rng.random() < 0.5, text=""))
        else:
            kind = TaskKind.PRESENCE if asked == 4 else TaskKind.CLASSIFY
            tasks.append(Task(kind=kind, indices=indices, other=asked == 5, text=""))
    return (*tasks, Task(indices=tuple(range(len(curriculum.vocabulary))), text=""))


def _groups(indices: tuple[int, ...], rng: np.random.Generator) -> tuple[Group, ...]:
    """Two to five runs of neighbours: vocabularies tend to list like beside like."""
    number = int(rng.integers(2, min(5, len(indices)) + 1))
    cuts = np.sort(rng.choice(np.arange(1, len(indices)), number - 1, replace=False))
    return tuple(Group(name="", indices=tuple(run.tolist())) for run in np.split(np.array(indices), cuts))


@torch.no_grad()
def measure(
    supernet: Supernet,
    genes: tuple[tuple[int, ...], ...],
    tasks: tuple[Task, ...],
    x_NCHW: Tensor,
    y_N: Tensor,
    report: Callable[[int, int], None],
    *,
    bfloat16: bool,
) -> Measurements:
    """Runs every genotype once over the images, at its image size; all tasks are answered from the same logits.

    Computed on the supernet's device, networks in bfloat16 where asked; returned on the CPU.
    """
    spec = supernet.spec
    device = supernet.w_stem.device
    at_size = [_channels_last(resized(x_NCHW.to(device), size)) for size in spec.image_sizes]
    labels_N = y_N.to(device)
    questions = [_Question.of(task, labels_N, spec.labels) for task in tasks]

    def right_of(genes_of_one: tuple[int, ...]) -> Tensor:
        genotype = spec.genotype(genes_of_one)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            z_NL = torch.cat([supernet(batch, genotype) for batch in torch.split(at_size[genes_of_one[0]], 500)])
        z_NL = z_NL.float()
        return torch.stack([question.right(z_NL) for question in questions])

    whole = torch.int16 if len(y_N) < 2**15 else torch.int32  # hundreds of genotypes x tasks x labels

    def by_label(right_TN: Tensor) -> Tensor:
        counts_TL = torch.zeros(len(tasks), spec.labels, dtype=whole, device=device)
        return counts_TL.index_add(1, labels_N, right_TN.to(whole)).cpu()

    full_right_TN = right_of(spec.most_genes)
    counts = []
    for number, genes_of_one in enumerate(genes):
        right_TN = right_of(genes_of_one)
        counts.append((by_label(right_TN), by_label(right_TN & full_right_TN)))
        report(number + 1, len(genes))
    right, both = zip(*counts, strict=True)
    return Measurements(
        genes=genes,
        full_genes=spec.most_genes,
        tasks=tasks,
        right_PTL=torch.stack(right),
        both_PTL=torch.stack(both),
        full_right_TL=by_label(full_right_TN),
        images_L=y_N.bincount(minlength=spec.labels),
    )


def _channels_last(x_NCHW: Tensor) -> Tensor:
    return x_NCHW.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    """A task asked of images: which of them it knows, by index, and the outputs that are right for those."""

    task: Task
    known_K: Tensor
    answers_K: Tensor
    images: int

    @classmethod
    def of(cls, task: Task, y_N: Tensor, labels: int) -> _Question:
        answers_L, _ = answers_of(task, labels)
        answers_N = answers_L.to(y_N.device)[y_N]
        known_K = torch.nonzero(answers_N >= 0).flatten()
        return cls(task=task, known_K=known_K, answers_K=answers_N[known_K], images=len(y_N))

    def right(self, z_NL: Tensor) -> Tensor:
        """Which of all images are answered rightly from logits over the whole vocabulary; none that the task does not know."""
        right_K = task_probabilities(z_NL[self.known_K], self.task).argmax(1) == self.answers_K
        return torch.zeros(self.images, dtype=torch.bool, device=z_NL.device).index_put((self.known_K,), right_K)
