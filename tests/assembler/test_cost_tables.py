"""Tables over (image size, block, open bricks) price a genotype as its whole list of operators does."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_assemblers import SPEC, all_genes, cost_of, direct_cost, genes, tables, tasks

from edgekit.core.budget import Budget, Cost
from edgekit.tasks.task import Task

PRICES = {target: cost_of(target) for target in ("rpi4:tflite-int8", "rpi4:tflite-fp32")}
FIVE = Task(indices=(0, 1, 2, 4, 5), text="five")


@pytest.mark.parametrize("target", PRICES)
@settings(deadline=None)
@given(genes, tasks())
def test_tables_price_as_the_operators_do(target, of_genotype, task):
    direct = direct_cost(of_genotype, task, PRICES[target])
    cost = tables(task, PRICES[target]).cost(of_genotype)
    assert cost.macs == direct.macs
    assert cost.peak_ram_bytes == direct.peak_ram_bytes
    assert cost.size_bytes == direct.size_bytes
    assert cost.latency_ms == pytest.approx(direct.latency_ms, rel=1e-12)


@settings(deadline=None, max_examples=20)
@given(tasks())
def test_full_is_the_cost_of_the_full_network_for_this_task(task):
    found = tables(task, PRICES["rpi4:tflite-int8"])
    assert found.full == direct_cost(SPEC.most_genes, task, PRICES["rpi4:tflite-int8"])


def test_a_further_brick_never_makes_a_network_cheaper() -> None:
    found = tables(FIVE, PRICES["rpi4:tflite-int8"])
    for name in (field.name for field in fields(Cost)):
        table = getattr(found, name)
        for size in range(len(SPEC.image_sizes)):
            for block, spec in enumerate(SPEC.blocks):
                priced = table[size, block, : spec.bricks + 1]
                assert (np.diff(priced) >= 0).all(), (name, size, block)
                assert priced[0] == 0


@settings(deadline=None, max_examples=20)
@given(st.tuples(*(st.floats(0.01, 1.0) for _ in range(4))))
def test_within_is_the_budget_kept(shares):
    found = tables(FIVE, PRICES["rpi4:tflite-int8"])
    limits = {
        field.name: share * getattr(found.full, field.name) for field, share in zip(fields(Cost), shares, strict=True)
    }
    budget = Budget(**limits)
    every = all_genes()
    kept = found.within(every, budget)
    assert kept.tolist() == [not budget.broken_by(found.cost(of_genotype)) for of_genotype in every.tolist()]
