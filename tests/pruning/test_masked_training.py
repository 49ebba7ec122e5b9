"""Nothing off the mask lives, at any time; and averages of what clients learnt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from edgekit.pruning.masked_training import masked_momenta, rise_and_fall, train_masked, weighted_mean
from edgekit.pruning.masks import prunable


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def masks_of(module: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(one.shape, generator=generator) < 0.3 for name, one in prunable(module).items()}


def loss_of(module: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    x_NI = torch.randn(32, 6, generator=generator)
    return nn.functional.cross_entropy(module(x_NI), (x_NI[:, 0] > 0).long())


def test_weights_off_the_mask_are_zero_before_every_step_and_after_the_last() -> None:
    """Trap f: there, the mask acts only in the forward pass, and what is uploaded is dense."""
    module = network()
    masks = masks_of(module)

    def steps() -> Iterator[tuple[float, object]]:
        for _ in range(20):
            assert all(int((one != 0).sum()) <= int(masks[name].sum()) for name, one in prunable(module).items())
            assert all(not one[~masks[name]].any() for name, one in prunable(module).items())
            yield 0.1, loss_of

    before = float(loss_of(module))
    momenta = train_masked(module, masks, {}, steps())  # type: ignore[arg-type]
    assert all(not one[~masks[name]].any() for name, one in prunable(module).items())
    assert all(not momenta[name][~masks[name]].any() for name in masks)
    assert not module.training
    assert float(loss_of(module)) < before


def test_training_in_two_parts_is_training_in_one() -> None:
    one, two = network(), network()
    masks = masks_of(one)
    train_masked(one, masks, {}, [(0.1, loss_of)] * 6)
    momenta = train_masked(two, masks, {}, [(0.1, loss_of)] * 2)
    train_masked(two, masks, momenta, [(0.1, loss_of)] * 4)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_weight_that_is_grown_starts_at_rest() -> None:
    momenta = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2)}
    new = torch.tensor([[True, False], [False, True]])
    after = masked_momenta(momenta, {"0.weight": new})
    assert torch.equal(after["0.weight"], new.float())
    assert torch.equal(after["0.bias"], torch.ones(2))


def test_the_mean_is_weighted_by_samples_and_of_one_client_exact() -> None:
    parts = [{"w": torch.tensor([1.0, 0.1])}, {"w": torch.tensor([5.0, 0.1])}]
    torch.testing.assert_close(weighted_mean(parts, [3, 1])["w"], torch.tensor([2.0, 0.1]))
    assert weighted_mean(parts[:1], [3])["w"] is parts[0]["w"]


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [rise_and_fall(step / 100, step / 100) for step in range(101)]
    top = max(range(101), key=rates.__getitem__)
    assert 0 < rates[0] < 0.1
    assert 3 <= top <= 6
    assert rates[top] > 0.95
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-9)
