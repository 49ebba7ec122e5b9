"""One unit at a time: the right gradients, in little memory, and exactly so many weights exchanged."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from edgekit.pruning.masks import apply_masks, prunable
from edgekit.pruning.progressive import (
    BLOCK,
    SHORTLIST,
    Sparse,
    changes,
    exchanged,
    exchanged_kept,
    gradients_at,
    largest_gradients,
    merged_gradients,
    unit_of_turn,
)
from edgekit.pruning.sparse_training.memory import LiveBytes
from edgekit.pruning.units import units_of


class Network(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, **options)  # type: ignore[arg-type]
        self.shortcut = nn.Conv2d(8, 8, 1)
        self.linear = nn.Linear(8, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = torch.relu(self.norm(self.stem(x_NCHW)))
        y_NCHW = self.conv(y_NCHW).mean((2, 3)) + self.shortcut(y_NCHW).mean((2, 3))
        return self.linear(torch.relu_(y_NCHW))


def losses(*batches: tuple[Tensor, Tensor]) -> list:
    return [lambda module, x=x, y=y: nn.functional.cross_entropy(module(x), y) for x, y in batches]


def batch(number: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, 2, 9, 9, generator=generator), torch.randint(0, 5, (number,), generator=generator)


def masked(network: nn.Module, density: float = 0.3) -> dict[str, Tensor]:
    masks = {
        name: torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) < density
        for name, weight in prunable(network).items()
    }
    apply_masks(network, masks)
    return masks


def by_autograd(network: nn.Module, batches: list, name: str) -> Tensor:
    network.eval()
    network.zero_grad()
    for loss_of in batches:
        (loss_of(network) / len(batches)).backward()
    gradient = network.get_parameter(name).grad
    assert gradient is not None
    network.zero_grad()
    return gradient


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"stride": 2},
        {"dilation": 2, "padding": "same"},
        {"groups": 2},
        {"groups": 8},
        {"padding": 1, "padding_mode": "circular"},
    ],
)
@pytest.mark.parametrize("block", [BLOCK, 20])
def test_gradients_are_those_of_autograd_at_the_right_positions(
    options: dict[str, object], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap c: the authors' code indexes the mask by places among the inactive, and looks at the first layer only."""
    monkeypatch.setattr("edgekit.pruning.progressive.BLOCK", block)
    torch.manual_seed(0)
    network = Network(**options).eval()
    masks = masked(network)
    counts = {"conv.weight": 7, "shortcut.weight": 5, "linear.weight": 6}
    some = losses(batch(6), batch(6, 1))
    found = largest_gradients(network, masks, counts, some)
    assert set(found) == set(counts), "all layers of the unit"
    for name, count in counts.items():
        gradient = by_autograd(network, some, name).flatten()
        shortlist = by_autograd(network, some[:1], name).flatten().abs()
        shortlist[masks[name].flatten()] = -1
        considered = shortlist.topk(min(SHORTLIST * count, int((~masks[name]).sum()))).indices
        expected = considered[gradient[considered].abs().topk(count).indices]
        assert set(found[name].index_A.tolist()) == set(expected.tolist())
        torch.testing.assert_close(found[name].value_A, gradient[found[name].index_A], rtol=1e-4, atol=1e-6)
        assert not masks[name].flatten()[found[name].index_A].any(), "inactive positions only"


def test_gradients_at_positions_that_all_clients_share_are_those_of_autograd() -> None:
    network = Network(padding=1)
    masked(network)
    batches = losses(batch(6), batch(6, seed=1))
    index = {"conv.weight": torch.tensor([0, 5, 71, 72, 575]), "linear.weight": torch.arange(0, 40, 3)}
    found = gradients_at(network, index, batches)
    for name, index_A in index.items():
        assert torch.equal(found[name].index_A, index_A)
        expected_A = by_autograd(network, batches, name).flatten()[index_A]
        assert torch.allclose(found[name].value_A, expected_A, atol=1e-6)


def test_looking_at_gradients_changes_nothing_and_batches_are_averaged() -> None:
    """Trap e: there, statistics move during gradients, and sums over batches favour clients that have more of them."""
    torch.manual_seed(0)
    network = Network(padding=1)
    masks = masked(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    (loss,) = losses(batch(8))
    once = largest_gradients(network, masks, {"linear.weight": 4}, [loss])
    thrice = largest_gradients(network, masks, {"linear.weight": 4}, [loss] * 3)
    assert torch.equal(once["linear.weight"].index_A, thrice["linear.weight"].index_A)
    torch.testing.assert_close(once["linear.weight"].value_A, thrice["linear.weight"].value_A)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_a_unit_that_stops_learning_in_the_middle_is_left_trainable() -> None:
    network = Network(padding=1)
    network.stem.weight.requires_grad_(False)

    def broken(_module: nn.Module) -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        largest_gradients(network, masked(network), {"conv.weight": 3}, [broken])
    assert [name for name, one in network.named_parameters() if not one.requires_grad] == ["stem.weight"]
    assert not network.conv._forward_hooks


@settings(max_examples=8, deadline=None)
@given(st.integers(200, 900), st.integers(200, 900), st.integers(1, 200), st.integers(1, 4))
def test_memory_is_bounded_by_what_is_grown(inputs: int, outputs: int, count: int, number: int) -> None:
    """Beyond the activations, in proportion to what is grown: a dense gradient would not fit."""
    layer = nn.Sequential(nn.Linear(inputs, outputs))
    masks = {"0.weight": torch.zeros(outputs, inputs, dtype=torch.bool)}
    x_NI = torch.randn(4, inputs)
    some = [lambda module: module(x_NI).square().mean() for _ in range(number)]
    with LiveBytes() as memory:
        largest_gradients(layer, masks, {"0.weight": count}, some)
    activations = 4 * 4 * (inputs + 8 * outputs)
    piece = max(BLOCK, inputs)
    assert memory.peak <= activations + 8 * 8 * (SHORTLIST * count + piece)
    with LiveBytes() as dense:
        by_autograd(layer, some, "0.weight")
    assert dense.peak >= 4 * inputs * outputs, "the measurement sees a dense gradient"


def test_of_a_large_layer_the_bound_is_far_below_the_dense_gradient() -> None:
    layer = nn.Sequential(nn.Linear(2000, 2000))
    masks = {"0.weight": torch.zeros(2000, 2000, dtype=torch.bool)}
    x_NI = torch.randn(4, 2000)
    with LiveBytes() as memory:
        largest_gradients(layer, masks, {"0.weight": 100}, [lambda module: module(x_NI).square().mean()])
    assert memory.peak < 2000 * 2000 * 4 / 2


def test_a_weight_without_a_gradient_is_not_grown() -> None:
    weight, mask = torch.tensor([3.0, 1.0, 2.0, 0.0, 0.0]), torch.tensor([True, True, True, False, False])
    grown = Sparse(index_A=torch.tensor([3, 4]), value_A=torch.tensor([0.0, -0.1]))
    assert exchanged(weight, mask, grown, 2).tolist() == [True, False, True, False, True]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.floats(0, 1), st.integers(0, 60), st.integers(0, 10000))
def test_an_exchange_keeps_the_density_and_changes_exactly_so_many(
    size: int, density: float, count: int, seed: int
) -> None:
    """Trap d: there, dropped weights may be grown again at once."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(size, generator=generator)
    mask = torch.rand(size, generator=generator) < density
    weight *= mask
    inactive, active = (~mask).nonzero().flatten(), mask.nonzero().flatten()
    count = min(count, len(inactive), len(active))
    order = torch.randperm(len(inactive), generator=generator)[: 2 * count]
    grown = Sparse(index_A=inactive[order], value_A=torch.randn(len(order), generator=generator))
    new = exchanged(weight, mask, grown, count)
    after = exchanged_kept(Sparse(index_A=active, value_A=weight[active]), grown, count)
    assert torch.equal(after.index_A, new.nonzero().flatten())
    assert torch.equal(after.value_A, (weight * mask)[new]), "what stays keeps its value, what is grown begins at zero"
    assert int(new.sum()) == int(mask.sum())
    assert int((new & ~mask).sum()) == int((mask & ~new).sum()) == count
    kept_, dropped = weight[mask & new].abs(), weight[mask & ~new].abs()
    assert not len(kept_) or not len(dropped) or kept_.min() >= dropped.max()
    chosen = grown.value_A[new[grown.index_A]].abs()
    left = grown.value_A[~new[grown.index_A]].abs()
    assert not len(chosen) or not len(left) or chosen.min() >= left.max()


def test_what_clients_send_is_averaged_by_samples() -> None:
    parts = [
        Sparse(index_A=torch.tensor([7, 2]), value_A=torch.tensor([1.0, -4.0])),
        Sparse(index_A=torch.tensor([7, 9]), value_A=torch.tensor([3.0, 8.0])),
    ]
    both = merged_gradients(parts, [3, 1], 2)
    assert dict(zip(both.index_A.tolist(), both.value_A.tolist(), strict=True)) == {2: -3.0, 9: 2.0}


def test_the_schedule_starts_at_alpha_and_ends_at_nothing() -> None:
    found = [changes(step, 10, 1000, alpha=0.3) for step in range(12)]
    assert found[0] == 300
    assert found[5] == 150
    assert found == sorted(found, reverse=True)
    assert found[10:] == [0, 0]
    assert changes(0, 10, 1000, alpha=0.15 * 2) == int(0.15 * (1 + math.cos(0)) * 1000)


def test_units_go_from_the_output_backwards_and_round_again() -> None:
    units = (("a",), ("b", "c"), ("d",))
    assert [unit_of_turn(units, turn) for turn in range(5)] == [("d",), ("b", "c"), ("a",), ("d",), ("b", "c")]


def test_blocks_are_found_by_structure() -> None:
    graph = fx.symbolic_trace(Network(padding=1))
    assert units_of(graph, list(prunable(graph))) == (
        ("stem.weight",),
        ("conv.weight", "shortcut.weight"),
        ("linear.weight",),
    )


def test_in_a_chain_each_layer_is_a_unit() -> None:
    chain = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    assert units_of(chain, ["0.weight", "2.weight"]) == (("0.weight",), ("2.weight",))
