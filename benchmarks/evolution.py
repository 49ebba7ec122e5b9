"""Plain evolutionary search, the yardstick of the assembler.

As in once-for-all (arXiv 1908.09791, appendix; its released search): a population of 100 over 500 generations, the best
quarter are parents and stay, half of the children are mutants (each gene redrawn with probability 0.1), half are crossed
(each gene from either of two parents); children that break a limit are drawn anew.
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

Counts = NDArray[np.int64]
Draw = Callable[[int], Counts]


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """The best so far, and when it was reached."""

    seconds: float
    counts: tuple[int, ...]
    score: float


def evolve(
    spec: SupernetSpec,
    allowed: Callable[[Counts], NDArray[np.bool_]],
    score: Callable[[Counts], NDArray[np.float64]],
    *,
    seed: int,
    generations: int = GENERATIONS,
) -> Sequence[Generation]:
    """The best of each generation, from the first, random one. The smallest genotype must be allowed."""
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    low = np.array([block.fewest_bricks for block in spec.blocks])
    high = np.array([block.bricks for block in spec.blocks])

    def random(number: int) -> Counts:
        # Of every size alike: where limits are tight, uniform counts would hardly ever keep them.
        largest = low + (high - low) * rng.random((number, 1))
        drawn: Counts = np.round(low + (largest - low) * rng.random((number, len(low)))).astype(np.int64)
        return drawn

    def mutants(number: int) -> Counts:
        redrawn = rng.random((number, len(low))) < MUTATION_PROBABILITY
        mutated: Counts = np.where(redrawn, rng.integers(low, high + 1, (number, len(low))), _any(parents, rng, number))
        return mutated

    def crossed(number: int) -> Counts:
        from_first = rng.random((number, len(low))) < 0.5
        child: Counts = np.where(from_first, _any(parents, rng, number), _any(parents, rng, number))
        return child

    def children(draw: Draw, number: int) -> Counts:
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
                counts=tuple(parents[0].tolist()),
                score=float(parent_scores[0]),
            )
        )
        if generation < generations:
            n_mutants = round(MUTATION_SHARE * POPULATION)
            born = np.concatenate([children(mutants, n_mutants), children(crossed, POPULATION - n_mutants)])
            population = np.concatenate([parents, born])
            scores = np.concatenate([parent_scores, score(born)])
    return history


def _any(parents: Counts, rng: np.random.Generator, number: int) -> Counts:
    return parents[rng.integers(len(parents), size=number)]
