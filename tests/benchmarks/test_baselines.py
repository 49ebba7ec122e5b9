"""What the baselines are by their papers' definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from baselines.dense import dense_spec, hidden_of, macs_of
from baselines.fine_tuning import fine_tuned
from baselines.from_scratch import fresh, trained_from_scratch
from baselines.magnitude_pruning import magnitudes, pruned
from baselines.method import Method, Problem
from baselines.one_genotype import OneGenotype
from baselines.random_bricks import RandomBricks, RandomPrefixes
from baselines.sorted_prefixes import SortedPrefixes, SortedPrefixesOfBestSize
from baselines.training import Images, for_steps
from baselines.uniform_width import UniformWidth
from hypothesis import given
from hypothesis import strategies as st
from tiny_supernet import LABELS, SPEC, draw_all

from edgekit.assembler.costs import CostTables
from edgekit.assembler.training.augmentation import Augmentation
from edgekit.assembler.training.optimizers import OptimizerKind
from edgekit.assembler.training.recipe import Recipe
from edgekit.core.budget import Budget, Cost
from edgekit.core.operators import Operator
from edgekit.supernet.blocks import Block
from edgekit.supernet.description import describe
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task

SIZES = replace(SPEC, image_sizes=(8, 16))
TASK = Task(indices=(0, 2, 5), text="three stripes")
EVERYTHING = Task(indices=tuple(range(len(LABELS))), text="all stripes")
RECIPE = Recipe(
    name="stripes",
    data="stripes",
    licence="ours",
    seed=0,
    steps=10,
    warmup_steps=5,
    batch=16,
    accumulate=1,
    bfloat16=False,
    optimizer=OptimizerKind.ADAMW,
    held_out=0.1,
    warmup_learning_rate=4e-3,
    learning_rate=2e-3,
    weight_decay=0.02,
    label_smoothing=0.0,
    all_labels=0.5,
    smallest_limit=0.1,
    largest_limit=1.0,
    size_shares=(1.0,),
    augmentation=Augmentation(mix=0.5),
    supernet=SPEC.to_json(),
)


def macs_alone(operators: tuple[Operator, ...] | list[Operator]) -> Cost:
    return Cost(latency_ms=0, size_bytes=0, peak_ram_bytes=0, macs=sum(operator.macs for operator in operators))


def problem(share: float, seed: int = 0) -> Problem:
    tables = CostTables.of(SIZES, TASK, macs_alone)
    least = tables.cost(SIZES.least_genes).macs
    limit = least + share * (tables.full.macs - least)
    return Problem(task=TASK, budget=Budget(macs=limit).resolve(tables.full), tables=tables, seed=seed)


METHODS: list[Method] = [
    SortedPrefixes(spec=SIZES),
    SortedPrefixesOfBestSize(spec=SIZES, score=lambda genes_PG: -genes_PG[:, 0].astype(float)),
    UniformWidth(spec=SIZES),
    RandomPrefixes(spec=SIZES),
    RandomBricks(spec=SIZES),
    OneGenotype(name="smallest", genotype=SIZES.smallest),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.name))
@given(share=st.floats(0, 1), seed=st.integers(0, 9))
def test_every_choice_keeps_the_budget(method: Method, share: float, seed: int) -> None:
    asked = problem(share, seed)
    genotype = SIZES.check(method.choose(asked))
    macs = sum(operator.macs for operator in describe(SIZES, genotype, rows=len(TASK.indices), sums=None))
    assert macs <= asked.budget.macs * (1 + 1e-9)  # type: ignore[operator]
    assert method.choose(asked) == genotype


@given(share=st.floats(0, 1))
def test_in_sorted_prefixes_a_block_lags_behind_only_where_it_cannot_grow(share: float) -> None:
    asked = problem(share)
    size, *counts = SIZES.genes(SortedPrefixes(spec=SIZES).choose(asked))
    for block, count in enumerate(counts):
        if count < max(counts) - 1:
            wider = (size, *(n + (index == block) for index, n in enumerate(counts)))
            assert not asked.tables.within(np.array([wider]), asked.budget)[0]


@given(share=st.floats(0, 1))
def test_uniform_width_is_one_width_everywhere(share: float) -> None:
    genotype = UniformWidth(spec=SIZES).choose(problem(share))
    assert len(set(genotype.counts)) == 1 or genotype == SIZES.smallest


def test_a_full_budget_opens_everything_at_the_full_image_size() -> None:
    for method in METHODS[:1] + METHODS[2:3]:
        assert method.choose(problem(1.0)) == SIZES.full


def test_the_best_size_is_that_of_the_score() -> None:
    smallest_first = SortedPrefixesOfBestSize(spec=SIZES, score=lambda genes_PG: -genes_PG[:, 0].astype(float))
    assert smallest_first.choose(problem(1.0)).image_size == 8


def supernet() -> Supernet:
    """With statistics as if it had been trained, so that normalisation matters."""
    torch.manual_seed(0)
    network = Supernet(SIZES)
    network.train()
    x_NHWC, _ = draw_all(48, np.random.default_rng(0))
    for _ in range(20):
        network(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).float() / 255, SIZES.full)
    return network.eval().requires_grad_(False)


def pictures(count: int = 48, seed: int = 1) -> Images:
    x_NHWC, y_N = draw_all(count, np.random.default_rng(seed))
    return Images(x_NCHW=torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous(), y_N=torch.from_numpy(y_N))


def test_pruning_nothing_is_the_full_supernet() -> None:
    network = supernet()
    x_NCHW = pictures().x_NCHW.float() / 255
    whole = pruned(network, outputs=len(TASK.indices), max_macs=1e12)
    expected = slice_subnet(network, SIZES.full, TASK)(x_NCHW)
    torch.testing.assert_close(slice_subnet(whole, whole.spec.full, TASK)(x_NCHW), expected, atol=1e-5, rtol=0)


def test_pruning_keeps_the_limit_and_the_channels_of_largest_weight() -> None:
    network = supernet()
    limit = 0.4 * macs_of(replace(SIZES, labels=3))
    cut = pruned(network, outputs=3, max_macs=limit)
    assert 0.3 * limit < macs_of(replace(cut.spec, labels=3)) <= limit
    for block, kept in zip(network.blocks, cut.blocks, strict=True):
        assert isinstance(block, Block)
        assert isinstance(kept, Block)
        number = kept.spec.hidden_channels
        least_kept = magnitudes(block).sort(descending=True).values[number - 1]
        chosen = magnitudes(block) >= least_kept
        torch.testing.assert_close(kept.w_first, block.w_first[chosen])


@pytest.mark.parametrize("counts", [(4, 4, 4), (0, 2, 1), (3, 1, 0)])
def test_the_dense_network_of_a_genotype_costs_what_the_genotype_costs(counts: tuple[int, ...]) -> None:
    genotype = SPEC.genotype((0, *counts))
    dense = dense_spec(SPEC, hidden_of(SPEC, genotype), image_size=SPEC.image_size, outputs=3)
    macs = sum(operator.macs for operator in describe(SPEC, genotype, rows=3, sums=None))
    assert macs_of(dense) == macs
    assert fresh(SPEC, genotype, outputs=3, seed=0).spec == dense


def test_training_for_a_task_learns_it_and_leaves_the_supernet_alone() -> None:
    network, images = supernet(), pictures(96).for_task(TASK)
    judged = pictures(96, seed=2).for_task(TASK)
    subnet = slice_subnet(network, SIZES.full, TASK)
    before = {key: value.clone() for key, value in subnet.state_dict().items()}
    tuned = fine_tuned(subnet, images, RECIPE, for_steps(60), image_size=16, seed=0)
    scratch = trained_from_scratch(SPEC, SPEC.full, images, RECIPE, for_steps(60), outputs=3, seed=0)
    for trained in (tuned, scratch):
        assert trained.steps == 60
        right = trained.subnet(judged.x_NCHW.float() / 255).argmax(1) == judged.y_N
        assert right.float().mean() > 0.8
    assert all(torch.equal(value, before[key]) for key, value in subnet.state_dict().items())
