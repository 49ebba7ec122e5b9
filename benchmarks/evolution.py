"""Plain evolutionary search, the yardstick of the assembler.

As in once-for-all (arXiv 1908.09791, appendix; its released search): a population of 100 over 500 generations, the best
quarter are parents and stay, half of the children are mutants (each gene, image size or number of bricks, redrawn with
probability 0.1), half are crossed (each gene from either of two parents); children that break a limit are drawn anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.supernet.spec import SupernetSpec

POPULATION, GENERATIONS = 100, 500
PARENT_SHARE, MUTATION_SHARE, MUTATION_PROBABILITY = 0.25, 0.5, 0.1
# A limit that leaves hardly a genotype must not hold the search for ever: places still free are left to the smallest.
MAX_DRAWS = 1000

Genes = NDArray[np.int64]
Draw = Callable[[int], Genes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """The best so far, and when it was reached."""

    seconds: float
    genes: tuple[int, ...]
    score: float


def evolve(
    spec: SupernetSpec,
    allowed: Callable[[Genes], NDArray[np.bool_]],
    score: Callable[[Genes], NDArray[np.float64]],
    *,
    seed: int,
    generations: int = GENERATIONS,
) -> Sequence[Generation]:
    """The best of each generation, from the first, random one. The smallest genotype must be allowed."""
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    low, high = np.array(spec.least_genes), np.array(spec.most_genes)

    def random(number: int) -> Genes:
        # Of every size alike: where limits are tight, uniform genes would hardly ever keep them.
        largest = low + (high - low) * rng.random((number, 1))
        drawn: Genes = np.round(low + (largest - low) * rng.random((number, len(low)))).astype(np.int64)
        return drawn

    def mutants(number: int) -> Genes:
        redrawn = rng.random((number, len(low))) < MUTATION_PROBABILITY
        mutated: Genes = np.where(redrawn, rng.integers(low, high + 1, (number, len(low))), _any(parents, rng, number))
        return mutated

    def crossed(number: int) -> Genes:
        from_first = rng.random((number, len(low))) < 0.5
        child: Genes = np.where(from_first, _any(parents, rng, number), _any(parents, rng, number))
        return child

    def children(draw: Draw, number: int) -> Genes:
        kept = np.empty((0, len(low)), np.int64)
        for _ in range(MAX_DRAWS):
            drawn = draw(number - len(kept))
            kept = np.concatenate([kept, drawn[allowed(drawn)]])
            if len(kept) == number:
                return kept
        return np.concatenate([kept, np.broadcast_to(low, (number - len(kept), len(low)))])

    population = children(random, POPULATION)
    scores = score(population)
    history: list[Generation] = []
    for generation in range(generations + 1):
        order = np.argsort(-scores, kind="stable")[: round(PARENT_SHARE * POPULATION)]
        parents, parent_scores = population[order], scores[order]
        history.append(
            Generation(
                seconds=time.perf_counter() - started,
                genes=tuple(parents[0].tolist()),
                score=float(parent_scores[0]),
            )
        )
        if generation < generations:
            n_mutants = round(MUTATION_SHARE * POPULATION)
            born = np.concatenate([children(mutants, n_mutants), children(crossed, POPULATION - n_mutants)])
            population = np.concatenate([parents, born])
            scores = np.concatenate([parent_scores, score(born)])
    return history


def _any(parents: Genes, rng: np.random.Generator, number: int) -> Genes:
    return parents[rng.integers(len(parents), size=number)]
