"""The baselines of benchmarks/fedtiny.py keep the number asked for, and what their papers say."""

from __future__ import annotations

import torch
from baselines.pruning_scores import magnitude, snip, synflow
from torch import nn
from torch.nn import functional as F  # noqa: N812

from edgekit.pruning.masks import kept, prunable


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3)
    ).eval()


def loss_of(module: nn.Module) -> torch.Tensor:
    x_NI = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))
    return F.cross_entropy(module(x_NI), (x_NI[:, 0] > 0).long())


def test_each_keeps_the_number_asked_for_and_leaves_the_network_alone() -> None:
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    total = sum(weight.numel() for weight in prunable(module).values())
    for masks in (magnitude(module, 0.05), snip(module, 0.05, [loss_of]), synflow(module, 0.05, (12,))):
        assert kept(masks) == round(0.05 * total)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not module.training


def test_snip_keeps_what_the_loss_feels() -> None:
    """It looks at the input that decides, which magnitude does not know of."""
    module = network()
    seen = snip(module, 0.05, [loss_of])["0.weight"].sum(0)
    assert seen.argmax() == 0


def test_synflow_empties_no_layer_where_one_ranking_by_magnitude_does() -> None:
    module = network()
    with torch.no_grad():
        module[3].weight.mul_(1e-3)
    assert not magnitude(module, 0.02)["3.weight"].any()
    assert all(mask.any() for mask in synflow(module, 0.02, (12,)).values())
