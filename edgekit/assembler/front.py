"""The front of a supernet for one task on one target: what accuracy is to be had for which latency, size and memory."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekit.assembler.assembly import Assembly
from edgekit.assembler.costs import CostTables
from edgekit.assembler.judge import Judge
from edgekit.assembler.refinement import Allowed, neighbours_of_any_size, refined_by_size
from edgekit.assembler.searcher import Searcher
from edgekit.core.budget import Budget
from edgekit.core.errors import InfeasibleError
from edgekit.tasks.task import Task

COSTS = ("latency_ms", "size_bytes", "peak_ram_bytes")
# A dearer network is listed where it is predicted to gain more than this.
GAIN = 5e-4
LIMITS_A_COST = 6
ROUNDS, EXPANDED = 40, 32

Genes = NDArray[np.int64]
Values = NDArray[np.float64]


def find_front(
    searcher: Searcher, task: Task, budget: Budget, tables: CostTables, *, seed: int
) -> tuple[Assembly, ...]:
    """Networks inside the budget none of which is beaten in accuracy, latency, size and memory at once; the fastest first.

    From the archive, the generator's chains and a search inside each limit of a grid, by Pareto local search (Paquete et al.,
    2004): neighbours of the front so far, until it stands or ROUNDS have passed. Deterministic by seed. Raises InfeasibleError
    where no network fits the limits, or keeps the floor.
    """
    budget = budget.resolve(tables.full)
    judge = searcher.judge_of(task)
    searcher.check_room(judge, budget, tables)
    within = partial(tables.within, budget=budget)
    genes = _at_hand(searcher, task, budget, judge, tables, seed)
    genes = np.concatenate([genes, *_inside_limits(searcher, genes, within, judge, tables)])
    front = genes[unbeaten(genes, judge, tables)]
    expanded = np.empty((0, genes.shape[1]), np.int64)
    for _ in range(ROUNDS):
        fresh = _without(front, expanded)
        if not len(fresh):
            break
        chosen = fresh[np.linspace(0, len(fresh) - 1, min(EXPANDED, len(fresh))).round().astype(int)]
        expanded = np.concatenate([expanded, chosen])
        around = np.unique(neighbours_of_any_size(searcher.spec, chosen), axis=0)
        candidates = np.unique(np.concatenate([front, around[within(around)]]), axis=0)
        front = candidates[unbeaten(candidates, judge, tables)]
    if budget.min_accuracy is not None:
        front = front[judge.reach(front, budget.min_accuracy)]
        if not len(front):
            searcher.search(task, budget, tables, seed=seed)  # says what is nearest
            raise InfeasibleError("no network of the front reaches --min-accuracy", hint="lower --min-accuracy")
    return tuple(searcher.assembly(one, judge, tables) for one in front)


def front_at_hand(
    searcher: Searcher, task: Task, budget: Budget, tables: CostTables, *, seed: int
) -> tuple[Assembly, ...]:
    """As `find_front`, of what the archive and the generator hold, without a search: near the front, in a fraction of a second."""
    budget = budget.resolve(tables.full)
    judge = searcher.judge_of(task)
    searcher.check_room(judge, budget, tables)
    genes = _at_hand(searcher, task, budget, judge, tables, seed)
    return tuple(searcher.assembly(one, judge, tables) for one in genes[unbeaten(genes, judge, tables)])


def _at_hand(
    searcher: Searcher, task: Task, budget: Budget, judge: Judge, tables: CostTables, seed: int
) -> NDArray[np.int64]:
    """What the archive and the generator's chains hold inside a resolved budget."""
    chains = searcher.chains(task, seed)[:: len(searcher.spec.image_sizes)].reshape(-1, len(searcher.spec.most_genes))
    kept = chains[tables.within(chains, budget)]
    found: Genes = np.unique(np.concatenate([searcher.recall(judge, budget, tables), kept]), axis=0)
    return found


def unbeaten(genes_PG: Genes, judge: Judge, tables: CostTables) -> NDArray[np.int64]:
    """Indices of the front, by rising latency; of networks that gain no more than GAIN the cheaper one stands."""
    of_genes = tables.of_genes(genes_PG)
    costs_PC = np.stack([of_genes[name] for name in COSTS], axis=1)
    accuracy_P = judge.accuracy(genes_PG)
    # What beats another costs no more in anything, so it comes before it.
    order = np.lexsort((-accuracy_P, *costs_PC.T[::-1]))
    kept: list[int] = []
    kept_costs, kept_accuracy = np.empty_like(costs_PC), np.empty_like(accuracy_P)
    for index in order:
        standing = len(kept)
        cheaper = (kept_costs[:standing] <= costs_PC[index]).all(1)
        if not (cheaper & (kept_accuracy[:standing] >= accuracy_P[index] - GAIN)).any():
            kept_costs[standing], kept_accuracy[standing] = costs_PC[index], accuracy_P[index]
            kept.append(index)
    return np.array(kept)


def spread(front: tuple[Assembly, ...], most: int) -> tuple[Assembly, ...]:
    """Some of a front, as far from each other as they can be in accuracy and in the logarithms of the costs; the fastest first."""
    if len(front) <= most:
        return front
    figures_PF = np.array(
        [[one.accuracy, *(np.log(max(getattr(one.cost, name), 1e-9)) for name in COSTS)] for one in front]
    )
    figures_PF = (figures_PF - figures_PF.min(0)) / np.maximum(np.ptp(figures_PF, axis=0), 1e-9)
    chosen = [int(figures_PF[:, 0].argmax()), 0]
    while len(chosen) < most:
        distance_P = np.abs(figures_PF[:, None] - figures_PF[chosen]).sum(2).min(1)
        chosen.append(int(distance_P.argmax()))
    return tuple(front[index] for index in sorted(set(chosen)))


def _inside_limits(searcher: Searcher, start: Genes, within: Allowed, judge: Judge, tables: CostTables) -> list[Genes]:
    """The most accurate networks of each image size inside each limit of a grid, one cost at a time."""
    costs = tables.of_genes(start)
    found = []
    for name in COSTS:
        for limit in np.geomspace(max(costs[name].min(), 1e-9), costs[name].max(), LIMITS_A_COST):

            def inside(genes: Genes, name: str = name, limit: float = limit) -> NDArray[np.bool_]:
                return within(genes) & (tables.of_genes(genes)[name] <= limit)

            starts = start[inside(start)]
            if len(starts):  # the least limit may round to below the least cost
                found.append(np.stack([*refined_by_size(searcher.spec, starts, inside, judge.accuracy)]))
    return found


def _without(genes: Genes, others: Genes) -> Genes:
    known = set(map(tuple, others.tolist()))
    return genes[[tuple(one) not in known for one in genes.tolist()]]
