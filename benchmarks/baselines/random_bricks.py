"""Random networks inside the budget, the yardstick of every search (arXiv 1902.07638): first bricks, or any bricks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.method import Problem
from baselines.prefixes import filled, fitting_sizes
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomPrefixes:
    """Blocks are widened in random order until nothing more fits, at a random image size."""

    spec: SupernetSpec
    name: str = "random prefixes"

    def choose(self, problem: Problem) -> Genotype:
        rng = np.random.default_rng(problem.seed)
        size = int(rng.choice(fitting_sizes(self.spec, problem)))
        blocks = [index for index, block in enumerate(self.spec.blocks) for _ in range(block.bricks)]
        return self.spec.genotype(filled(self.spec, problem, size, rng.permutation(blocks).tolist()))


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomBricks:
    """As many bricks of each block as random prefixes, but any of them: a supernet of sorted bricks is not made for it."""

    spec: SupernetSpec
    name: str = "random bricks"

    def choose(self, problem: Problem) -> Genotype:
        first = RandomPrefixes(spec=self.spec).choose(problem)
        rng = np.random.default_rng([problem.seed, 1])
        masks = (
            sum(1 << int(brick) for brick in rng.choice(block.bricks, count, replace=False))
            for block, count in zip(self.spec.blocks, first.counts, strict=True)
        )
        return Genotype(tuple(masks), first.image_size)
