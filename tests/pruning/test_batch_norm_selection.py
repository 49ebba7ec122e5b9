"""Statistics of all normalisation layers, merged as if one client had all samples, and the vote."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.pruning.batch_norm_selection import Moments, load, mean_loss, measured, merged, norms_of, running, vote


class Residual(nn.Module):
    """With a normalisation layer whose name says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(3)
        self.downsample = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
        self.untracked = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = self.bn1(self.conv(x_NCHW)) + self.downsample(x_NCHW)
        return self.untracked(y_NCHW).mean((2, 3))


@pytest.fixture
def network() -> Residual:
    torch.manual_seed(0)
    return Residual().eval()


def test_statistics_are_exchanged_of_every_norm_layer_found_by_type(network: Residual) -> None:
    """Trap a: the authors' code sends only entries named "bn", and of these only those that no forward pass changes."""
    assert set(norms_of(network)) == {"bn1", "downsample.1"}
    x_NCHW = torch.randn(64, 2, 5, 5) * 3 + 1
    found = measured(network, [x_NCHW])
    shortcut_NCHW = network.downsample[0](x_NCHW)
    torch.testing.assert_close(found["downsample.1"].mean_C, shortcut_NCHW.mean((0, 2, 3)))
    torch.testing.assert_close(found["downsample.1"].var_C, shortcut_NCHW.var((0, 2, 3), correction=0))
    load(network, found)
    assert torch.equal(network.downsample[1].running_var, found["downsample.1"].var_C)


def test_measuring_changes_nothing(network: Residual) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measured(network, torch.randn(30, 2, 5, 5).split(7))
    assert not network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(layer.training for layer in network.modules())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 1000), st.floats(-100, 100))
def test_merged_statistics_are_those_of_all_samples_together(sizes: list[int], seed: int, offset: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.randn(size, 3, generator=generator, dtype=torch.float64) + offset * index
        for index, size in enumerate(sizes)
    ]
    moments = [{"norm": Moments(mean_C=part.mean(0), var_C=part.var(0, correction=0))} for part in parts]
    together = torch.cat(parts)
    both = merged(moments, sizes)["norm"]
    torch.testing.assert_close(both.mean_C, together.mean(0))
    torch.testing.assert_close(both.var_C, together.var(0, correction=0))


def test_running_gives_a_copy(network: Residual) -> None:
    before = running(network)
    load(network, {name: Moments(mean_C=one.mean_C + 1, var_C=one.var_C * 2) for name, one in before.items()})
    assert not torch.equal(before["bn1"].mean_C, network.bn1.running_mean)


def test_the_vote_weighs_clients_by_their_samples() -> None:
    """The authors' server takes the unweighted mean."""
    losses_CK = [[1.0, 3.0], [2.5, 1.0]]
    assert vote(losses_CK, [1, 1], [5, 5]) == 1
    assert vote(losses_CK, [9, 1], [5, 5]) == 0


def test_of_equal_losses_the_one_of_fewer_macs_wins_and_no_number_loses() -> None:
    assert vote([[1.0], [1.0], [1.0]], [3], [7, 5, 5]) == 1
    assert vote([[float("nan")], [9.0]], [3], [1, 2]) == 1


def test_losses_are_those_in_use_weighed_by_samples(network: Residual) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x_NCHW = torch.randn(10, 2, 5, 5)
    load(network, measured(network, [x_NCHW]))
    network.untracked = nn.BatchNorm2d(3).eval()
    whole = network(x_NCHW).square().mean().item()
    parts = [(len(some), lambda module, some=some: module(some).square().mean()) for some in x_NCHW.split([3, 7])]
    assert mean_loss(network, parts) == pytest.approx(whole, rel=1e-5)
    assert before["conv.weight"].equal(network.conv.weight)
