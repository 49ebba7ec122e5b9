"""One width multiplier for all blocks (MobileNets, arXiv 1704.04861; slimmable networks, arXiv 1812.08928).

Unlike sorted prefixes it drops no block and fills up no rest: k of M bricks everywhere, or no network.
"""

from __future__ import annotations

from dataclasses import dataclass

from baselines.method import Problem
from baselines.prefixes import keeps
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class UniformWidth:
    """The widest that fits, at the full image size; where its narrowest is too much, at the next smaller one, and where
    that is too much at every size, the smallest network of the supernet."""

    spec: SupernetSpec
    name: str = "uniform width"

    def choose(self, problem: Problem) -> Genotype:
        most = max(block.bricks for block in self.spec.blocks)
        for size in reversed(range(len(self.spec.image_sizes))):
            for width in range(most, 0, -1):
                genes = (size, *(max(1, block.bricks * width // most) for block in self.spec.blocks))
                if keeps(problem, genes):
                    return self.spec.genotype(genes)
        return self.spec.smallest
