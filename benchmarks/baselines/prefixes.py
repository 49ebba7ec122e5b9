"""Genotypes of first bricks, filled up to a budget in an order that knows neither task nor accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from baselines.method import Problem
from edgekit.supernet.spec import SupernetSpec


def fitting_sizes(spec: SupernetSpec, problem: Problem) -> list[int]:
    """Indices of the image sizes at which at least the smallest network keeps the limits."""
    sizes = range(len(spec.image_sizes))
    return [size for size in sizes if keeps(problem, (size, *spec.smallest.counts))]


def keeps(problem: Problem, genes: Sequence[int]) -> bool:
    return bool(problem.tables.within(np.array([genes]), problem.budget)[0])


def filled(spec: SupernetSpec, problem: Problem, size: int, order: Sequence[int]) -> tuple[int, ...]:
    """Genes: the smallest network, and then the next brick of block after block of `order` as far as the limits allow."""
    genes = (size, *spec.smallest.counts)
    asked = [0] * len(spec.blocks)
    for block in order:
        asked[block] += 1
        if asked[block] > genes[block + 1]:
            larger = tuple(gene + (index == block + 1) for index, gene in enumerate(genes))
            if keeps(problem, larger):
                genes = larger
    return genes
