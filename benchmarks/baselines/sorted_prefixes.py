"""Sorted prefixes: every block opens the same share of its bricks, the first ones.

After SortedNet (arXiv 2309.00255): nested networks, each the first part of the next larger one, and a budget picks the
largest that fits. The last bricks that fit are opened block by block from the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from baselines.method import Problem
from baselines.prefixes import filled, fitting_sizes
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec

Score = Callable[[NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SortedPrefixes:
    """At the full image size, as long as a network of that size fits."""

    spec: SupernetSpec
    name: str = "sorted prefixes"

    def choose(self, problem: Problem) -> Genotype:
        return self.spec.genotype(sorted_prefix(self.spec, problem, fitting_sizes(self.spec, problem)[-1]))


@dataclass(frozen=True, kw_only=True, slots=True)
class SortedPrefixesOfBestSize:
    """At the image size of best `score`, which knows no task: as fair as a method without one can be."""

    spec: SupernetSpec
    score: Score
    name: str = "sorted prefixes, best size"

    def choose(self, problem: Problem) -> Genotype:
        sizes = fitting_sizes(self.spec, problem)
        genes_PG = np.array([sorted_prefix(self.spec, problem, size) for size in sizes])
        return self.spec.genotype(genes_PG[int(np.argmax(self.score(genes_PG)))].tolist())


def sorted_prefix(spec: SupernetSpec, problem: Problem, size: int) -> tuple[int, ...]:
    bricks = [(brick / block.bricks, index) for index, block in enumerate(spec.blocks) for brick in range(block.bricks)]
    return filled(spec, problem, size, [index for _, index in sorted(bricks)])
