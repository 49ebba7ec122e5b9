"""Weights are lost for good, bit by bit, until exactly so many are left; and what is left has learnt."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.pruning.gradual import PRUNED_AT, density_at, prune_gradually
from edgekit.pruning.masks import apply_masks, global_masks, kept, kept_in_total, prunable

SIZES = 16 * 32 + 32 * 32 + 32 * 4


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)
    )


def quadrants(seed: int) -> tuple[Tensor, Tensor]:
    x_NI = torch.randn(64, 16, generator=torch.Generator().manual_seed(seed))
    return x_NI, 2 * (x_NI[:, 0] > 0).long() + (x_NI[:, 1] > 0).long()


def loss_of(module: nn.Module, seed: int) -> Tensor:
    x_NI, y_N = quadrants(seed)
    return nn.functional.cross_entropy(module(x_NI), y_N)


@given(st.sampled_from([0.01, 0.05, 0.3, 0.9]), st.integers(1, 35))
@settings(max_examples=12, deadline=None)
def test_exactly_so_many_weights_are_left_in_every_layer_at_least_one(density: float, steps: int) -> None:
    module = network()
    masks = prune_gradually(module, density, [(0.1, partial(loss_of, seed=step)) for step in range(steps)])
    assert kept(masks) == kept_in_total([SIZES], density)
    assert all(mask.any() for mask in masks.values())
    assert all(not weight[~masks[name]].any() for name, weight in prunable(module).items())


def test_density_falls_along_the_cubic_of_the_paper_and_stays() -> None:
    assert density_at(0.0, 0.05) == 1
    assert density_at(PRUNED_AT / 2, 0.05) == pytest.approx(0.05 + 0.95 / 8)
    assert density_at(PRUNED_AT, 0.05) == density_at(1.0, 0.05) == 0.05


def test_what_is_lost_stays_lost() -> None:
    module, alive = network(), []

    def noted(module: nn.Module, seed: int) -> Tensor:
        alive.append(torch.cat([(weight != 0).flatten() for weight in prunable(module).values()]))
        return loss_of(module, seed)

    prune_gradually(module, 0.1, [(0.1, partial(noted, seed=step)) for step in range(100)])
    assert all(not (later & ~sooner).any() for sooner, later in zip(alive[::10], alive[10::10], strict=False))
    assert len({int(one.sum()) for one in alive}) > 4


def test_it_answers_better_than_the_largest_weights_of_as_much_training() -> None:
    """The independent way: train dense for as long, then keep the largest weights."""
    steps = [(0.1, partial(loss_of, seed=step)) for step in range(200)]
    gradual, dense = network(), network()
    prune_gradually(gradual, 0.05, steps)
    optimizer = torch.optim.SGD(dense.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for rate, loss in steps:
        optimizer.zero_grad()
        loss(dense).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert rate == optimizer.param_groups[0]["lr"]
    scores = {name: weight.detach().abs() for name, weight in prunable(dense).items()}
    apply_masks(dense, global_masks(scores, kept_in_total([SIZES], 0.05)))
    x_NI, y_N = quadrants(10_000)
    gradual_right, dense_right = (
        float((module.eval()(x_NI).argmax(1) == y_N).float().mean()) for module in (gradual, copy.deepcopy(dense))
    )
    assert gradual_right > dense_right + 0.1
