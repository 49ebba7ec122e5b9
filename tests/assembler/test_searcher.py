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
from small_assemblers import SPEC, all_genes, cost_of, direct_cost, searcher, tables, tasks, with_archive

from edgekit.assembler.assembly import Assembly
from edgekit.core.budget import Budget, Cost, Share
from edgekit.core.errors import ExitCode, InfeasibleError
from edgekit.tasks.task import Task, TaskKind

PRICING = cost_of("rpi4:tflite-int8")
COSTS = tuple(field.name for field in fields(Cost))
SEARCHERS = {
    (seed, monotone): with_archive(searcher(seed, monotone=monotone)) for seed in range(2) for monotone in (True, False)
}
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

    genes: NDArray[np.int64]
    costs: tuple[Cost, ...]
    accuracy: NDArray[np.float64]

    def best_within(self, budget: Budget) -> float:
        """The best accuracy inside absolute limits; -inf where nothing fits."""
        kept = [not budget.broken_by(cost) for cost in self.costs]
        return float(self.accuracy[kept].max(initial=-math.inf))


@cache
def everything(which: tuple[int, bool], task: Task) -> Everything:
    every = all_genes()
    return Everything(
        genes=every,
        costs=tuple(direct_cost(of_genotype, task, PRICING) for of_genotype in every.tolist()),
        accuracy=SEARCHERS[which].accuracy_of(task)(every),
    )


def search(which: tuple[int, bool], task: Task, budget: Budget, *, seed: int = 0) -> Assembly:
    return SEARCHERS[which].search(task, budget, tables(task, PRICING), seed=seed)


Places = tuple[float | None, ...]


def budget_at(places: Places, task: Task) -> Budget:
    """A limit at 0 admits the smallest network only, one at 1 the full one, one below 0 none."""
    smallest, full = (direct_cost(genes, task, PRICING) for genes in (SPEC.least_genes, SPEC.most_genes))
    return Budget(
        **{
            name: getattr(smallest, name)
            + place * (getattr(full, name) - getattr(smallest, name) if place > 0 else getattr(smallest, name))
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
    cost = direct_cost(SPEC.genes(SPEC.check(found.genotype)), task, PRICING)
    for name in COSTS:
        limit = getattr(budget, name)
        assert limit is None or getattr(cost, name) <= limit * (1 + 1e-12)


@settings(deadline=None, max_examples=30)
@given(which, tasks(), st.sampled_from(COSTS), st.floats(0.01, 1))
def test_a_share_is_one_of_the_full_network(which, task, name, fraction):
    limit = fraction * getattr(direct_cost(SPEC.most_genes, task, PRICING), name)
    assume(limit >= getattr(direct_cost(SPEC.least_genes, task, PRICING), name) * 1.001)
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
    direct = direct_cost(SPEC.genes(found.genotype), task, PRICING)
    for name in COSTS:
        assert getattr(found.cost, name) == pytest.approx(getattr(direct, name), rel=1e-12)
    (predicted,) = SEARCHERS[which].accuracy_of(task)(np.array([SPEC.genes(found.genotype)]))
    assert found.accuracy == pytest.approx(predicted, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1), st.sampled_from(TASKS), st.floats(0.0, 1.0))
def test_a_floor_is_kept_by_the_fastest_network_that_can(seed, task, share):
    which = (seed, True)
    every = everything(which, task)
    least, most = every.accuracy.min(), every.accuracy.max()
    floor = float(min(most, least + share * (most - least)))  # the sum may round past the most
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


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1), st.sampled_from(TASKS), st.floats(0.5, 1.0))
def test_a_share_of_the_full_accuracy_is_kept_for_sure_by_the_fastest_network_that_can(seed, task, fraction):
    which = (seed, True)
    every = everything(which, task)
    sure = SEARCHERS[which].judge_of(task).sure_share(every.genes)
    found = search(which, task, Budget(min_accuracy=Share(fraction=fraction)))
    assert found.sure_share >= fraction - 1e-6
    latencies = np.array([cost.latency_ms for cost in every.costs])
    assert found.cost.latency_ms <= latencies[sure >= fraction].min() * 1.01


@settings(deadline=None, max_examples=20)
@given(which, st.sampled_from(TASKS), st.floats(0.5, 0.98), st.floats(0.005, 0.02))
def test_a_larger_share_costs_no_less(which, task, fraction, more):
    less, greater = (
        search(which, task, Budget(min_accuracy=Share(fraction=share))) for share in (fraction, fraction + more)
    )
    assert greater.cost.latency_ms >= less.cost.latency_ms * 0.99


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.text)
def test_the_full_supernet_keeps_all_of_its_accuracy(task: Task) -> None:
    found = search((0, True), task, Budget(min_accuracy=Share(fraction=1.0)))
    assert found.sure_share == 1
    assert found.interval[0] <= found.accuracy <= found.interval[1]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.text)
def test_a_share_out_of_reach_is_answered_with_one_that_is_not(task: Task) -> None:
    budget = budget_at((0.05, None, None, None), task)
    with pytest.raises(InfeasibleError, match="of the full supernet's accuracy") as caught:
        search((0, True), task, replace(budget, min_accuracy=Share(fraction=0.999)))
    assert "the fastest that reaches it has latency_ms" in caught.value.message
    advised = float(re.findall(r"([0-9.]+)%", caught.value.hint)[0]) / 100
    assert search((0, True), task, replace(budget, min_accuracy=Share(fraction=advised))).sure_share >= advised - 1e-6


@settings(deadline=None, max_examples=60)
@given(which, tasks(), anywhere)
def test_the_archive_keeps_every_limit_and_the_search_never_does_worse(which, task, places):
    budget = budget_at(places, task)
    found = tables(task, PRICING)
    try:
        at_once = SEARCHERS[which].at_once(task, budget, found)
    except InfeasibleError:
        assert everything(which, task).best_within(budget) == -math.inf
        return
    assert at_once is not None
    cost = direct_cost(SPEC.genes(SPEC.check(at_once.genotype)), task, PRICING)
    assert not replace(budget.resolve(found.full), **slack(budget)).broken_by(cost)
    assert search(which, task, budget).accuracy >= at_once.accuracy - 1e-6


def slack(budget: Budget) -> dict[str, float]:
    return {name: getattr(budget, name) * (1 + 1e-12) for name in COSTS if getattr(budget, name) is not None}


@settings(deadline=None, max_examples=40)
@given(which, st.sampled_from(TASKS), st.floats(0.3, 0.99))
def test_the_archive_keeps_a_floor_or_says_that_it_cannot(which, task, fraction):
    budget = Budget(min_accuracy=Share(fraction=fraction))
    at_once = SEARCHERS[which].at_once(task, budget, tables(task, PRICING))
    if at_once is not None:
        assert at_once.sure_share >= fraction - 1e-6
        assert search(which, task, budget).cost.latency_ms <= at_once.cost.latency_ms * (1 + 1e-12)


def test_the_archive_answers_nearly_as_well_as_the_search() -> None:
    lost = []
    for task in TASKS:
        for place in (0.1, 0.3, 0.5, 0.8):
            budget = budget_at((place, None, None, None), task)
            at_once = SEARCHERS[0, True].at_once(task, budget, tables(task, PRICING))
            assert at_once is not None
            lost.append(search((0, True), task, budget).accuracy - at_once.accuracy)
    assert max(lost) < 0.05
    assert np.mean(lost) < 0.02


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.text)
def test_a_limit_below_the_smallest_network_names_the_nearest_point(name: str, task: Task) -> None:
    smallest = direct_cost(SPEC.least_genes, task, PRICING)
    limit = 0.9 * getattr(smallest, name)
    with pytest.raises(InfeasibleError) as caught:
        search((0, True), task, Budget(**{name: limit}))
    error = caught.value
    assert error.code is ExitCode.INFEASIBLE
    assert f"no network fits: {name} {limit:.6g}" in error.message
    (accuracy,) = SEARCHERS[0, True].accuracy_of(task)(np.array([SPEC.least_genes]))
    assert f"predicted accuracy {accuracy:.2%}" in error.message
    assert error.hint
    advised = re.search(r"the smallest network needs ([0-9.e+]+)", error.message)
    assert advised is not None
    assert float(advised[1]) == pytest.approx(getattr(smallest, name), rel=1e-5)
    assert search((0, True), task, Budget(**{name: float(advised[1])})).cost
