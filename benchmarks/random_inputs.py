"""Random tasks and genotypes for benchmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.grammar import canonical_text
from edgekit.tasks.sampling import Composition, random_task
from edgekit.tasks.task import Task, TaskKind
from edgekit.tasks.vocabulary import Vocabulary


def all_labels(vocabulary: Vocabulary) -> Task:
    """The task that tells all labels apart."""
    indices = tuple(range(len(vocabulary)))
    return Task(indices=indices, text=canonical_text(indices, vocabulary))


def any_task(rng: np.random.Generator, vocabulary: Vocabulary, composed: Sequence[Composition]) -> Task:
    """Of every kind: half of the tasks take random labels, half a composition; of both, a third ask for presence, a third
    have the class `other`. Sizes of random sets are log-uniform from 2 to the whole vocabulary."""
    kind = rng.choice(["classify", "other", "presence"])
    if rng.random() < 0.5:
        indices = composed[int(rng.integers(len(composed)))].indices
    else:
        size = round(math.exp(rng.uniform(math.log(2), math.log(len(vocabulary)))))
        indices = random_task(rng, vocabulary, size).indices
    text = canonical_text(indices, vocabulary)
    everything = len(indices) == len(vocabulary)
    if kind == "presence" and not everything:
        return presence(indices, text)
    return Task(indices=indices, other=kind == "other" and not everything, text=text)


def presence(indices: tuple[int, ...], text: str) -> Task:
    return Task(kind=TaskKind.PRESENCE, indices=indices, text=text)


def random_masks(rng: np.random.Generator, spec: SupernetSpec) -> Genotype:
    """Any bricks: every block opens a random number of them, in random places; any image size."""
    prefix = random_prefix(rng, spec)
    chosen = (
        rng.choice(block.bricks, count, replace=False) for block, count in zip(spec.blocks, prefix.counts, strict=True)
    )
    return Genotype(tuple(sum(1 << int(brick) for brick in bricks) for bricks in chosen), prefix.image_size)


def random_prefix(rng: np.random.Generator, spec: SupernetSpec) -> Genotype:
    """First bricks: image size and numbers of open bricks uniform over what they may be."""
    genes = zip(spec.least_genes, spec.most_genes, strict=True)
    return spec.genotype([int(rng.integers(least, most + 1)) for least, most in genes])
