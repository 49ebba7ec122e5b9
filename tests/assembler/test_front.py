"""The front against all genotypes of small supernets, priced for the real rpi4."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_assemblers import all_genes, cost_of, searcher, tables, with_archive

from edgekit.assembler.assembly import Assembly
from edgekit.assembler.front import COSTS, find_front, spread
from edgekit.core.budget import Budget, Share
from edgekit.core.errors import InfeasibleError
from edgekit.tasks.task import Task, TaskKind

PRICING = cost_of()
SEARCHERS = {
    (seed, monotone): with_archive(searcher(seed, monotone=monotone)) for seed in (0, 1) for monotone in (True, False)
}
TASKS = (
    Task(indices=(0, 2, 5), text="three"),
    Task(indices=(1, 4), other=True, text="two and other"),
    Task(kind=TaskKind.PRESENCE, indices=(3,), text="one"),
)
near = 1e-3


def figures(front: tuple[Assembly, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    costs = np.array([[getattr(one.cost, name) for name in COSTS] for one in front])
    return np.array([one.accuracy for one in front]), costs


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.text)
@pytest.mark.parametrize("which", SEARCHERS, ids=str)
@pytest.mark.parametrize("budget", [Budget(), Budget(latency_ms=Share(fraction=0.8), size_bytes=Share(fraction=0.6))])
def test_the_front_is_the_true_one(which: tuple[int, bool], task: Task, budget: Budget) -> None:
    priced = tables(task, PRICING)
    accuracies, costs = figures(find_front(SEARCHERS[which], task, budget, priced, seed=0))
    every = all_genes()
    every = every[priced.within(every, budget.resolve(priced.full))]
    of_every = priced.of_genes(every)
    reached = SEARCHERS[which].accuracy_of(task)(every)
    for index, accuracy in enumerate(reached):
        cheaper = (costs <= np.array([of_every[name][index] for name in COSTS]) * (1 + 1e-12)).all(1)
        assert accuracies[cheaper].max(initial=0) >= accuracy - near, every[index]


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([*SEARCHERS]), st.sampled_from(TASKS), st.floats(0.65, 1), st.integers(0, 2**31))
def test_no_network_of_the_front_is_beaten_by_another(which, task, share, seed):
    front = find_front(
        SEARCHERS[which], task, Budget(latency_ms=Share(fraction=share)), tables(task, PRICING), seed=seed
    )
    accuracies, costs = figures(front)
    assert (np.diff(costs[:, 0]) >= 0).all(), "the fastest first"
    for index in range(len(front)):
        no_dearer = (costs <= costs[index]).all(1)
        no_dearer[index] = False
        assert (accuracies[no_dearer] < accuracies[index]).all()
    assert (
        find_front(SEARCHERS[which], task, Budget(latency_ms=Share(fraction=share)), tables(task, PRICING), seed=seed)
        == front
    )


def test_a_floor_cuts_the_front() -> None:
    priced = tables(TASKS[0], PRICING)
    whole = find_front(SEARCHERS[0, True], TASKS[0], Budget(), priced, seed=0)
    floor = sorted(one.accuracy for one in whole)[len(whole) // 2]
    above = find_front(SEARCHERS[0, True], TASKS[0], Budget(min_accuracy=floor), priced, seed=0)
    assert above == tuple(one for one in whole if one.accuracy >= floor - 1e-6)


@pytest.mark.parametrize("budget", [Budget(latency_ms=1e-3), Budget(min_accuracy=1.0)])
def test_an_empty_front_says_what_is_nearest(budget: Budget) -> None:
    with pytest.raises(InfeasibleError) as caught:
        find_front(SEARCHERS[0, True], TASKS[0], budget, tables(TASKS[0], PRICING), seed=0)
    assert caught.value.hint


def test_a_few_of_a_front_hold_its_ends_and_lie_apart() -> None:
    front = find_front(SEARCHERS[0, True], TASKS[0], Budget(), tables(TASKS[0], PRICING), seed=0)
    some = spread(front, 12)
    assert len(some) == 12
    assert some[0] == front[0]
    assert max(one.accuracy for one in some) == max(one.accuracy for one in front)
    assert [one.cost.latency_ms for one in some] == sorted(one.cost.latency_ms for one in some)
    assert spread(front[:5], 12) == front[:5]
