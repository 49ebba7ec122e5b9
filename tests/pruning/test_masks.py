"""Density to one weight, ERK, and the form in which masks are sent."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.core.errors import BadInputError, InfeasibleError, UsageError
from edgekit.pruning.candidates import Draws, counts_within, macs_of, uses_of
from edgekit.pruning.masks import (
    apply_masks,
    counts_of,
    density_of,
    erk_shares,
    global_masks,
    hash_of,
    kept,
    kept_in_total,
    magnitude_masks,
    packed,
    prunable,
    unpacked,
)
from edgekit.pruning.synaptic_flow import flow_masks, flow_ranking, reaches_all

shapes = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(1, 3)),
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
    ),
    min_size=1,
    max_size=5,
)


def weights_of(shapes: list[tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"layer{index}.weight": torch.randn(shape, generator=generator) for index, shape in enumerate(shapes)}


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(0.001, 1), st.integers(0, 2**31))
def test_every_draw_keeps_the_density_to_one_weight_and_empties_no_layer(
    layers: list[tuple[int, ...]], density: float, seed: int
) -> None:
    weights = weights_of(layers)
    sizes = {name: weight.numel() for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(seed)
    shares = {name: float(torch.rand((), generator=generator)) + 1e-6 for name in sizes}
    wanted = kept_in_total(sizes.values(), density)
    if wanted < len(layers):
        with pytest.raises(UsageError):
            counts_of(shares, sizes, wanted)
        return
    masks = magnitude_masks(weights, counts_of(shares, sizes, wanted))
    assert kept(masks) == wanted
    assert abs(density_of(masks) - density) * sum(sizes.values()) <= 1
    assert all(int(mask.sum()) >= 1 for mask in masks.values())


def erk_by_turns(shapes: dict[str, tuple[int, ...]], density: float) -> dict[str, float]:
    """As its authors solve it: whenever the densest layer would be more than full, it is made full and left out."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    full: set[str] = set()
    while True:
        free = [name for name in sizes if name not in full]
        left = density * sum(sizes.values()) - sum(sizes[name] for name in full)
        scale = left / sum(sum(shapes[name]) for name in free) if free else 0
        wanted = {name: scale * sum(shapes[name]) for name in free}
        over = [name for name in free if wanted[name] > sizes[name]]
        if not over:
            return wanted | {name: float(sizes[name]) for name in full}
        full.add(max(over, key=lambda name: wanted[name] / sizes[name]))


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(0.05, 0.9))
def test_erk_makes_layers_dense_and_solves_again_for_the_others(layers: list[tuple[int, ...]], density: float) -> None:
    shapes_ = {name: tuple(weight.shape) for name, weight in weights_of(layers).items()}
    sizes = {name: math.prod(shape) for name, shape in shapes_.items()}
    expected = erk_by_turns(shapes_, density)
    if min(expected.values()) < 1:
        return  # no layer is emptied here
    counts = counts_of(erk_shares(shapes_), sizes, kept_in_total(sizes.values(), density))
    assert all(abs(counts[name] - expected[name]) <= 1.5 for name in sizes)


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(0.01, 1), st.integers(0, 100))
def test_a_mask_survives_packing_and_its_hash_tells_it_from_others(
    shapes: list[tuple[int, ...]], density: float, seed: int
) -> None:
    weights = weights_of(shapes, seed)
    total = kept_in_total([weight.numel() for weight in weights.values()], density)
    masks = global_masks({name: weight.abs() for name, weight in weights.items()}, total)
    content = packed(masks)
    read = unpacked(content, {name: tuple(mask.shape) for name, mask in masks.items()})
    assert len(content) == -(-sum(mask.numel() for mask in masks.values()) // 8)
    assert all(torch.equal(read[name], mask) for name, mask in masks.items())
    assert hash_of(read) == hash_of(masks)
    name = next(iter(read))
    read[name].view(-1)[0] ^= True
    assert hash_of(read) != hash_of(masks)


def test_a_mask_of_another_network_is_refused() -> None:
    with pytest.raises(BadInputError, match="expected 2 for 10 weights"):
        unpacked(b"\0\0\0", {"a": (2, 5)})


def test_magnitude_keeps_the_largest_of_each_layer_and_of_equals_the_first() -> None:
    weights = {"a": torch.tensor([[0.1, -3.0], [2.0, 0.5]]), "b": torch.ones(4)}
    masks = magnitude_masks(weights, {"a": 2, "b": 3})
    assert masks["a"].tolist() == [[False, True], [True, False]]
    assert masks["b"].tolist() == [True, True, True, False]


def test_biases_and_normalisation_stay_dense_whatever_layers_are_called() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.LayerNorm(2))
    assert list(prunable(network)) == ["0.weight", "3.weight"]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    apply_masks(
        network, {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in prunable(network).items()}
    )
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"0.weight", "3.weight"}


def test_weights_that_are_not_finite_are_zero_off_the_mask() -> None:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[torch.nan, 1.0]]))
    apply_masks(layer, {"weight": torch.tensor([[False, True]])})
    assert layer.weight.tolist() == [[0.0, 1.0]]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
        nn.Softmax(1),
    ).eval()


def test_candidates_differ_by_their_masks_and_share_the_weights() -> None:
    """Trap b of the authors' code: its candidates are other random weights under one mask."""
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    draws = Draws.of(module, (3, 8, 8), 0.1)
    made = [draws.candidate(seed) for seed in (0, 1, 2, 3, 4, 4)]
    hashes = [hash_of(one.masks) for one in made]
    assert len(set(hashes)) == 5
    assert hashes[4] == hashes[5], "same seed, same masks"
    total = sum(weight.numel() for weight in prunable(module).values())
    assert all(kept(one.masks) == round(0.1 * total) for one in made)
    assert all(mask.any() for one in made for mask in one.masks.values())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert draws.counts(4) != draws.counts(6)


def test_what_flow_keeps_leads_from_the_input_to_the_output() -> None:
    """Through ReLU6 and before a softmax, either of which would stop it."""
    module = network()
    masks = flow_masks(module, (3, 8, 8), {"0.weight": 9, "3.weight": 9, "6.weight": 9})
    assert [int(mask.sum()) for mask in masks.values()] == [9, 9, 9]
    made = set(masks["0.weight"].flatten(1).any(1).nonzero().flatten().tolist())
    read = set(masks["3.weight"].transpose(0, 1).flatten(1).any(1).nonzero().flatten().tolist())
    made_next = set(masks["3.weight"].flatten(1).any(1).nonzero().flatten().tolist())
    read_next = set(masks["6.weight"].any(0).nonzero().flatten().tolist())
    assert made <= read
    assert made_next <= read_next


class Branched(nn.Module):
    """A branch of two layers beside a direct way, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.long, self.longer = nn.Linear(8, 8), nn.Linear(8, 64), nn.Linear(64, 8)
        self.direct, self.head, self.small_head = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, x_NI: Tensor) -> tuple[Tensor, Tensor]:
        y_NO = self.stem(x_NI)
        y_NO = self.direct(y_NO) + self.longer(torch.relu(self.long(y_NO)))
        return self.head(y_NO), self.small_head(y_NO).softmax(1)


def test_one_ranking_by_flow_keeps_the_total_and_empties_only_what_is_bypassed() -> None:
    assert kept(flow_ranking(network(), (3, 8, 8), 100)) == 100
    torch.manual_seed(0)
    branched = Branched()
    with torch.no_grad():
        branched.long.weight.mul_(1e-3)
    masks = flow_ranking(branched, (8,), 24)
    assert kept(masks) == 24
    assert not masks["long.weight"].any()
    assert not masks["longer.weight"].any()
    assert all(masks[f"{name}.weight"].any() for name in ("stem", "direct", "head", "small_head"))
    assert reaches_all(branched, (8,), masks)
    for name in ("stem", "direct", "small_head"):
        without = {**masks, f"{name}.weight": torch.zeros_like(masks[f"{name}.weight"])}
        assert not reaches_all(branched, (8,), without), name


def test_where_a_head_would_be_left_without_flow_no_layer_is_emptied() -> None:
    torch.manual_seed(0)
    branched = Branched()
    with torch.no_grad():
        branched.small_head.weight.mul_(1e-4)
    assert not flow_ranking(branched, (8,), 24)["small_head.weight"].any()
    draws = Draws.of(branched, (8,), 24 / sum(weight.numel() for weight in prunable(branched).values()))
    for seed in range(6):
        masks = draws.candidate(seed).masks
        assert kept(masks) == 24
        assert masks["small_head.weight"].any()


def test_macs_count_kept_weights_as_often_as_they_are_used() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(4 * 4 * 4, 5)).eval()
    uses = uses_of(network, ["0.weight", "2.weight"], torch.zeros(1, 2, 8, 8))
    assert uses == {"0.weight": 16, "2.weight": 1}
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(network).items()}
    assert macs_of(masks, uses) == 4 * 4 * 4 * 2 * 9 + 64 * 5
    masks["0.weight"][0] = False
    assert macs_of(masks, uses) == 3 * 4 * 4 * 2 * 9 + 64 * 5


def test_weights_are_kept_within_a_limit_of_multiplications() -> None:
    shares, sizes = {"early": 0.9, "late": 0.1}, {"early": 100, "late": 1000}
    uses = {"early": 50, "late": 1}

    def macs(counts: dict[str, int]) -> int:
        return sum(counts[name] * uses[name] for name in counts)

    free = counts_of(shares, sizes, 110)
    assert counts_within(shares, sizes, uses, 110, macs(free)) == free
    tight = counts_within(shares, sizes, uses, 110, 1500)
    assert sum(tight.values()) == 110
    assert 1400 < macs(tight) <= 1500 < macs(free), "no further from the shares than it must be"
    with pytest.raises(InfeasibleError, match="multiply-accumulates"):
        counts_within(shares, sizes, uses, 110, 300)
