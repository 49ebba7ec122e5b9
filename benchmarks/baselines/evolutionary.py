"""Evolutionary search as in once-for-all (arXiv 1908.09791), with the assembler's accuracy predictor and cost tables.

Its own use is once for all tasks, by the accuracy over the whole vocabulary (`one_genotype.py`); here it is given the
predictor of the task besides, and searches anew for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from evolution import evolve

from baselines.method import Problem
from edgekit.assembler.searcher import Searcher
from edgekit.supernet.genotype import Genotype


@dataclass(frozen=True, kw_only=True, slots=True)
class Evolution:
    searcher: Searcher
    name: str = "evolution for the task"

    def choose(self, problem: Problem) -> Genotype:
        allowed = partial(problem.tables.within, budget=problem.budget)
        score = self.searcher.accuracy_of(problem.task)
        best = evolve(self.searcher.spec, allowed, score, seed=problem.seed)[-1]
        return self.searcher.spec.genotype(best.genes)
