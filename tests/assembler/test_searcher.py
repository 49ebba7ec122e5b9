"""The searcher against all genotypes of a small supernet, priced one by one for the real rpi4."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_assemblers import SPEC, all_counts, cost_of, direct_cost, searcher, tables, tasks

from edgekit.assembler.searcher import Assembly
from edgekit.core.budget import Budget, Cost, Share
from edgekit.core.errors import ExitCode, InfeasibleError
from edgekit.tasks.task import Task, TaskKind

PRICING = cost_of("rpi4:tflite-int8")
COSTS = tuple(field.name for field in fields(Cost))
SEARCHERS = {(seed, monotone): searcher(seed, monotone=monotone) for seed in range(2) for monotone in (True, False)}
TASKS = (
    Task(indices=(0, 2, 5), text="three"),
    Task(indices=(1, 4), other=True, text="two and other"),
    Task(kind=TaskKind.PRESENCE, indices=(3,), text="one"),
    Task(indices=tuple(range(6)), text="all"),
)
hair = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything:
    """Every genotype with its cost and its predicted accuracy."""

    counts: NDArray[np.int64]
    costs: tuple[Cost, ...]
    accuracy: NDArray[np.float64]

    def best_within(self, budget: Budget) -> float:
        """The best accuracy inside absolute limits; -inf where nothing fits."""
        kept = [not budget.broken_by(cost) for cost in self.costs]
        return float(self.accuracy[kept].max(initial=-math.inf))


@cache
def everything(which: tuple[int, bool], task: Task) -> Everything:
    every = all_counts()
    return Everything(
        counts=every,
        costs=tuple(direct_cost(of_blocks, task, PRICING) for of_blocks in every.tolist()),
        accuracy=SEARCHERS[which].accuracy_of(task)(every),
    )


def search(which: tuple[int, bool], task: Task, budget: Budget, *, seed: int = 0) -> Assembly:
    return SEARCHERS[which].search(task, budget, tables(task, PRICING), seed=seed)


Places = tuple[float | None, ...]


def budget_at(places: Places, task: Task) -> Budget:
    """A limit at 0 admits the smallest network only, one at 1 the full one."""
    smallest, full = (direct_cost(genotype.counts, task, PRICING) for genotype in (SPEC.smallest, SPEC.full))
    return Budget(
        **{
            name: getattr(smallest, name) + place * (getattr(full, name) - getattr(smallest, name))
            for name, place in zip(COSTS, places, strict=True)
            if place is not None
        }
    )


place = st.none() | st.floats(1e-6, 1)
anywhere = st.tuples(*[place | st.floats(-0.1, -1e-6)] * len(COSTS))
feasible = st.tuples(*[place] * len(COSTS))
which = st.sampled_from([*SEARCHERS])


@settings(deadline=None, max_examples=60)
@given(which, tasks(), anywhere)
def test_every_limit_is_kept_or_nothing_fits(which, task, places):
    budget = budget_at(places, task)
    try:
        found = search(which, task, budget)
    except InfeasibleError:
        assert everything(which, task).best_within(budget) == -math.inf
        return
    cost = direct_cost(SPEC.check(found.genotype).counts, task, PRICING)
    for name in COSTS:
        limit = getattr(budget, name)
        assert limit is None or getattr(cost, name) <= limit * (1 + 1e-12)


@settings(deadline=None, max_examples=30)
@given(which, tasks(), st.sampled_from(COSTS), st.floats(0.01, 1))
def test_a_share_is_one_of_the_full_network(which, task, name, fraction):
    limit = fraction * getattr(direct_cost(SPEC.full.counts, task, PRICING), name)
    assume(limit >= getattr(direct_cost(SPEC.smallest.counts, task, PRICING), name) * 1.001)
    assert getattr(search(which, task, Budget(**{name: Share(fraction=fraction)})).cost, name) <= limit * (1 + 1e-12)


@settings(deadline=None, max_examples=60)
@given(which, st.sampled_from(TASKS), feasible)
def test_no_genotype_inside_the_budget_is_better(which, task, places):
    budget = budget_at(places, task)
    best = everything(which, task).best_within(budget)
    assume(best > -math.inf)
    assert search(which, task, budget).accuracy >= best - hair


@settings(deadline=None, max_examples=40)
@given(which, st.sampled_from(TASKS), feasible, st.sampled_from(COSTS), st.floats(1.01, 2))
def test_a_looser_limit_never_predicts_less(which, task, places, name, factor):
    tight = budget_at(places, task)
    assume(getattr(tight, name) is not None and everything(which, task).best_within(tight) > -math.inf)
    loose = replace(tight, **{name: factor * getattr(tight, name)})
    assert search(which, task, loose).accuracy >= search(which, task, tight).accuracy - hair


@settings(deadline=None, max_examples=20)
@given(which, tasks(), st.floats(0.05, 1), st.integers(0, 2**31))
def test_the_same_seed_finds_the_same(which, task, place, seed):
    budget = budget_at((place, None, place, place), task)
    assert search(which, task, budget, seed=seed) == search(which, task, budget, seed=seed)


@settings(deadline=None, max_examples=30)
@given(which, tasks())
def test_an_assembly_tells_its_own_cost_and_accuracy(which, task):
    found = search(which, task, Budget(macs=Share(fraction=0.5)))
    direct = direct_cost(found.genotype.counts, task, PRICING)
    for name in COSTS:
        assert getattr(found.cost, name) == pytest.approx(getattr(direct, name), rel=1e-12)
    (predicted,) = SEARCHERS[which].accuracy_of(task)(np.array([found.genotype.counts]))
    assert found.accuracy == pytest.approx(predicted, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1), st.sampled_from(TASKS), st.floats(0.0, 1.0))
def test_a_floor_is_kept_by_the_fastest_network_that_can(seed, task, share):
    which = (seed, True)
    every = everything(which, task)
    floor = float(every.accuracy.min() + share * (every.accuracy.max() - every.accuracy.min()))
    assume(floor > 0)
    found = search(which, task, Budget(min_accuracy=floor))
    latencies = np.array([cost.latency_ms for cost in every.costs])
    fastest = latencies[every.accuracy >= floor].min()
    assert found.accuracy >= floor - 1e-6
    assert found.cost.latency_ms <= fastest * 1.01


@settings(deadline=None, max_examples=40)
@given(which, st.sampled_from(TASKS), st.data())
def test_a_floor_that_a_network_reaches_exactly_is_reached(which, task, data):
    every = everything(which, task)
    floor = data.draw(st.sampled_from(every.accuracy.tolist()))
    assume(0 < floor <= every.accuracy.max() - hair)
    assert search(which, task, Budget(min_accuracy=floor)).accuracy >= floor - 1e-6


@settings(deadline=None, max_examples=30)
@given(which, st.sampled_from(TASKS), st.floats(0.01, 1))
def test_the_best_predicted_accuracy_is_accepted_as_a_floor(which, task, place):
    budget = budget_at((None, None, None, place), task)
    best = search(which, task, budget)
    again = search(which, task, replace(budget, min_accuracy=best.accuracy))
    assert again.accuracy >= best.accuracy - 1e-6


@settings(deadline=None, max_examples=20)
@given(which, st.sampled_from(TASKS), st.floats(0.01, 1))
def test_a_floor_out_of_reach_is_answered_with_one_that_is_not(which, task, place):
    budget = budget_at((None, None, None, place), task)
    best = everything(which, task).best_within(budget)
    assume(0 < best < 0.999)
    floor = min(1.0, best + 2 * hair)
    with pytest.raises(InfeasibleError, match="predicted to reach") as caught:
        search(which, task, replace(budget, min_accuracy=floor))
    advised = float(re.findall(r"0\.[0-9]+", caught.value.hint)[0])
    every = everything(which, task)
    latencies = [cost.latency_ms for cost, reached in zip(every.costs, every.accuracy, strict=True) if reached >= floor]
    beyond = re.search(r"the fastest that reaches it has latency_ms ([0-9.e-]+)", caught.value.message)
    assert (beyond is not None) == bool(latencies)
    assert beyond is None or float(beyond[1]) <= 1.01 * min(latencies)
    assert search(which, task, replace(budget, min_accuracy=advised)).accuracy >= advised - 1e-6


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.text)
def test_a_limit_below_the_smallest_network_names_the_nearest_point(name: str, task: Task) -> None:
    smallest = direct_cost(SPEC.smallest.counts, task, PRICING)
    limit = 0.9 * getattr(smallest, name)
    with pytest.raises(InfeasibleError) as caught:
        search((0, True), task, Budget(**{name: limit}))
    error = caught.value
    assert error.code is ExitCode.INFEASIBLE
    assert f"no network fits: {name} {limit:.6g}" in error.message
    (accuracy,) = SEARCHERS[0, True].accuracy_of(task)(np.array([SPEC.smallest.counts]))
    assert f"predicted accuracy {accuracy:.2%}" in error.message
    assert error.hint
    advised = re.search(r"the smallest network needs ([0-9.e+]+)", error.message)
    assert advised is not None
    assert float(advised[1]) == pytest.approx(getattr(smallest, name), rel=1e-5)
    assert search((0, True), task, Budget(**{name: float(advised[1])})).cost
