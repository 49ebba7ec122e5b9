"""One genotype for all tasks: what is searched once, for the whole vocabulary or for the mean of many tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from baselines.evolutionary import Evolution
from baselines.method import Problem
from edgekit.assembler.searcher import Searcher
from edgekit.supernet.genotype import Genotype
from edgekit.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class OneGenotype:
    """Answers every task of one budget alike. It was searched with a head at least as large as any of the tasks needs."""

    name: str
    genotype: Genotype

    def choose(self, _problem: Problem) -> Genotype:
        return self.genotype


def evolved_once(searcher: Searcher, all_labels: Problem) -> OneGenotype:
    """By evolution for the whole vocabulary, as once-for-all specialises its network for a device."""
    return OneGenotype(name="evolution, once", genotype=Evolution(searcher=searcher).choose(all_labels))


def searched_once(searcher: Searcher, all_labels: Problem, tasks: Sequence[Task]) -> OneGenotype:
    """By the assembler's own search, for the best mean of the predicted accuracies of `tasks`."""
    scores = [searcher.accuracy_of(task) for task in tasks]

    def mean_accuracy(genes_PG: NDArray[np.int64]) -> NDArray[np.float64]:
        mean_P: NDArray[np.float64] = np.mean([score(genes_PG) for score in scores], axis=0)
        return mean_P

    starts = searcher.propose(all_labels.task, all_labels.budget, all_labels.tables, all_labels.seed)
    best = searcher.refine(starts, partial(all_labels.tables.within, budget=all_labels.budget), mean_accuracy)
    return OneGenotype(name="one genotype", genotype=searcher.spec.genotype(best.tolist()))
