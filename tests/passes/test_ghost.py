from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from pass_surroundings import context_of, give_statistics, model_of, ms_by_macs, relative_difference, trace_of
from sklearn.datasets import load_digits
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.core.errors import UsageError
from edgekit.core.model import Model
from edgekit.core.operators import Operator, OperatorKind
from edgekit.networks.layers import recalibrate, run
from edgekit.passes.channel_order import choose
from edgekit.passes.contract import PassResult, Samples
from edgekit.passes.fold import FoldBatchNorm
from edgekit.passes.ghost import SwapGhost, SwapGhostV2, SwapRepGhost
from edgekit.passes.ghost_arrangement import groups_of
from edgekit.passes.ghost_initialisation import assign_ghosts, choose_primaries
from edgekit.passes.ghost_modules import GhostModule, insert
from edgekit.passes.ghost_weights import neutral_gate
from edgekit.passes.graph_reading import tidied
from edgekit.passes.reparameterise import Reparameterise
from edgekit.passes.shortcut_padding import pads_as_convolutions
from edgekit.passes.sites import sites_of


class Residual(nn.Module):
    """A stem, two blocks whose second shortcut pads channels, and a linear layer behind flattened places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.first = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.first_out = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.second = nn.Sequential(
            nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.ReLU(),
        )
        self.second_out = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.stem(x_NCHW)
        x_NCHW = torch.relu(x_NCHW + self.first_out(self.first(x_NCHW)))
        shortcut_NCHW = F.pad(x_NCHW[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        y_NCHW = torch.relu(shortcut_NCHW + self.second_out(self.second(x_NCHW)))
        logits_NK: Tensor = self.head(y_NCHW)
        return logits_NK


# One channel in, eight out: of the stem's few MACs a Ghost module would save none.
SWAPPED = ("first.0", "first_out.0", "second.0", "second_out.0")


@cache
def digits() -> tuple[Samples, Samples]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x_N = torch.from_numpy(x[order].reshape(-1, 1, 8, 8).astype(np.float32)) / 16
    y_N = torch.from_numpy(y[order])
    return Samples(x_N=x_N[:1280], y_N=y_N[:1280]), Samples(x_N=x_N[1280:], y_N=y_N[1280:])


@cache
def trained() -> Model:
    """On digits, in a few seconds."""
    torch.manual_seed(0)
    network, (training, _) = Residual(), digits()
    optimizer = torch.optim.AdamW(network.parameters(), 0.003)
    network.train()
    assert training.y_N is not None
    for _ in range(6):
        for index in torch.randperm(len(training)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(training.x_N[index]), training.y_N[index]).backward()
            optimizer.step()
    return model_of(network, (1, 8, 8))


def accuracy(module: nn.Module) -> float:
    _, judging = digits()
    assert judging.y_N is not None
    return float((run(module, judging.x_N).argmax(1) == judging.y_N).float().mean())


@cache
def swapped() -> PassResult:
    training, _ = digits()
    return SwapGhost(max_residual=9.0, sums=False)(trained(), context_of(trained(), training.x_N[:512]))


def macs(model: Model) -> int:
    return sum(operator.macs for operator in model.operators)


def test_layers_of_a_group_can_be_reordered_together() -> None:
    network = Residual()
    give_statistics(network, 1)
    module = trace_of(network)
    assert len(pads_as_convolutions(module, (1, 8, 8))) == 1
    x_N = torch.rand(10, 1, 8, 8)
    assert relative_difference(network.eval(), module, x_N) < 1e-6
    names = list(sites_of(module))
    for name, group in groups_of(module, (1, 8, 8), names).items():
        assert not isinstance(group, str)
        width = sites_of(module)[name].layer.out_channels
        choose(module, {}, group, torch.randperm(width, generator=torch.Generator().manual_seed(width)))
    assert relative_difference(network, module, x_N) < 1e-5


def test_channels_of_an_output_or_of_groups_cannot_be_reordered() -> None:
    module = trace_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 2, 1)))
    groups = groups_of(module, (3, 4, 4), ["0", "2"])
    assert groups == {
        "0": "its channels cannot be reordered: 1 has groups",
        "2": "its channels cannot be reordered: output depends on the order",
    }


def test_primaries_stand_for_their_likes() -> None:
    """Three pairs of like channels, so that the right choice is one of each."""
    error_CC = torch.full((6, 6), 5.0)
    for one, other in ((0, 4), (1, 3), (2, 5)):
        error_CC[one, other] = error_CC[other, one] = 0.1
    error_CC.fill_diagonal_(0)
    primaries = choose_primaries(error_CC, 3)
    pairs = {
        frozenset({primary, *ghosts})
        for primary, ghosts in zip(primaries, assign_ghosts(error_CC, primaries, 2), strict=True)
    }
    assert pairs == {frozenset({0, 4}), frozenset({1, 3}), frozenset({2, 5})}


class Duplicates(nn.Module):
    """Half the channels of its first layer are multiples of the others, in no particular order."""

    def __init__(self, *, activation: bool, norm: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        order = torch.randperm(8, generator=generator)
        factor_C = torch.rand(4, generator=generator) + 0.5
        with torch.no_grad():
            self.first.weight[order[4:]] = self.first.weight[order[:4]] * factor_C[:, None, None, None]
            assert self.first.bias is not None
            self.first.bias[order[4:]] = self.first.bias[order[:4]] * factor_C
        self.between = nn.Sequential(*[nn.BatchNorm2d(8)] * norm, *[nn.ReLU()] * activation)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = self.second(self.between(self.first(x_NCHW)))
        return y_NCHW


@pytest.mark.parametrize(("activation", "norm"), [(True, False), (True, True), (False, True)])
def test_nothing_is_lost_where_channels_are_multiples_of_others(activation: bool, norm: bool) -> None:
    torch.manual_seed(3)
    model = model_of(Duplicates(activation=activation, norm=norm), (3, 9, 9))
    x_N = torch.rand(64, 3, 9, 9)
    result = SwapGhost(sums=False)(model, context_of(model, x_N))
    rows = {row.layer: row.cells for row in result.layers}
    assert rows["first"]["swapped"] == "concat"
    assert float(rows["first"]["residual variance"]) < 1e-4
    assert relative_difference(model.module, result.model.module, torch.rand(20, 3, 9, 9)) < 0.01
    assert rows["second"]["why not"] == "its channels cannot be reordered: output depends on the order"


def other_start(kind: str) -> fx.GraphModule:
    """The same layers as Ghost modules, without the fit: `random`, or `copy`, which takes over the first half of the filters."""
    torch.manual_seed(5)
    module = copy.deepcopy(trained().module)
    assert isinstance(module, fx.GraphModule)
    for name in SWAPPED:
        site = sites_of(module)[name]
        layer, half = site.layer, site.layer.out_channels // 2
        primary = nn.Conv2d(layer.in_channels, half, 3, stride=layer.stride[0], padding=1, bias=False)
        ghost = GhostModule(primary, ratio=2, kernel=3, activation=site.activation)
        if kind == "copy":
            assert site.norm is not None
            primary.weight.data.copy_(layer.weight[:half])
            ghost.primary_norm.weight.data.copy_(site.norm.weight[:half])
            ghost.primary_norm.bias.data.copy_(site.norm.bias[:half])
            ghost.cheap_norm.weight.data.copy_(site.norm.weight[half:])
            ghost.cheap_norm.bias.data.copy_(site.norm.bias[half:])
        insert(module, name, ghost.eval(), start=site.start, end=site.end)
        tidied(module)
    recalibrate(module, digits()[0].x_N.split(256))
    return module


def test_the_fit_keeps_more_than_random_weights_or_copied_filters() -> None:
    assert accuracy(trained().module) > 0.95
    assert [row.layer for row in swapped().layers if row.cells["swapped"] == "concat"] == list(SWAPPED)
    fitted = accuracy(swapped().model.module)
    assert fitted > accuracy(other_start("copy")) + 0.1
    assert fitted > accuracy(other_start("random")) + 0.3
    assert fitted > 0.8


def test_macs_fall_as_the_table_says_and_the_model_given_stays() -> None:
    result, model = swapped(), trained()
    saved = sum(
        float(row.cells["MACs before"]) - float(row.cells["MACs after"])
        for row in result.layers
        if row.cells["swapped"] != "no"
    )
    shortcut = 8 * 16 * 16
    assert macs(model) - macs(result.model) == saved - shortcut
    assert macs(result.model) < 0.65 * macs(model)
    assert "Padding of 1 shortcuts became a fixed 1x1 convolution each." in result.notes
    assert accuracy(model.module) > 0.95


def test_a_second_swap_finds_nothing() -> None:
    model = swapped().model
    again = SwapGhost(max_residual=9.0, sums=False)(model, context_of(model, digits()[0].x_N[:64]))
    assert not again.modified
    assert again.model is model


def test_what_would_miss_too_much_or_be_no_faster_is_left() -> None:
    def ms_by_joining(operators: Sequence[Operator]) -> float:
        return ms_by_macs(operators) + sum(operator.kind is OperatorKind.OTHER for operator in operators)

    model, x_N = trained(), digits()[0].x_N[:64]
    strict = SwapGhost(max_residual=1e-6, sums=False)(model, context_of(model, x_N))
    slow = SwapGhost(sums=False)(model, context_of(model, x_N, latency_ms=ms_by_joining))
    for result, reason in ((strict, "its ghosts would miss too much"), (slow, "it would not be faster on the target")):
        assert not result.modified
        assert {row.cells["why not"] for row in result.layers if row.layer in SWAPPED} == {reason}


def test_inside_blocks_a_layer_takes_the_form_that_is_faster() -> None:
    model, x_N = trained(), digits()[0].x_N[:256]
    result = SwapGhost(max_residual=9.0)(model, context_of(model, x_N))
    forms = {row.layer: row.cells["swapped"] for row in result.layers}
    assert forms == {
        "stem.0": "no",
        "first.0": "sum",
        "first_out.0": "concat",
        "second.0": "sum",
        "second_out.0": "concat",
    }


def test_masks_of_swapped_layers_go_and_those_behind_follow_the_new_order() -> None:
    network = copy.deepcopy(trained().module)
    masks = {}
    for name in ("first.0.weight", "second.0.weight", "second_out.0.weight"):
        masks[name] = torch.rand_like(network.get_parameter(name)) > 0.3
        network.get_parameter(name).data *= masks[name]
    model = replace(trained(), module=network, masks=masks)
    result = SwapRepGhost(max_residual=9.0)(model, context_of(model, digits()[0].x_N[:256]))
    assert {row.layer for row in result.layers if row.cells["swapped"] != "no"} == {"first.0", "second.0"}
    assert set(result.model.masks) == {"second_out.0.weight"}
    kept = result.model.masks["second_out.0.weight"]
    assert kept.shape == (16, 8, 3, 3)
    assert not result.model.module.get_parameter("second_out.0.weight")[~kept].any()


def test_a_sum_narrows_what_reads_it_and_folds_into_one_depthwise_convolution() -> None:
    model, x_N = trained(), digits()[0].x_N[:512]
    result = SwapRepGhost(max_residual=9.0)(model, context_of(model, x_N))
    assert accuracy(result.model.module) > 0.5
    merged = Reparameterise()(FoldBatchNorm()(result.model, context_of(model)).model, context_of(model)).model
    assert relative_difference(result.model.module, merged.module, x_N) < 1e-4
    depthwise = [one for one in merged.operators if one.kind is OperatorKind.DEPTHWISE]
    assert [one.channels for one in depthwise] == [8, 8, 8]
    assert macs(merged) < 0.6 * macs(model)
    assert not any("Padding" in note for note in result.notes)


def test_a_gate_starts_open_for_every_input() -> None:
    model, x_N = trained(), digits()[0].x_N[:512]
    gated = SwapGhostV2(max_residual=9.0, epochs=0)(model, context_of(model, x_N))
    assert [row.layer for row in gated.layers if row.cells["swapped"] == "gated"] == ["first.0", "second.0"]
    seen: list[Tensor] = []
    for module in gated.model.module.modules():
        if isinstance(module, nn.Sigmoid):
            module.register_forward_hook(lambda _module, _given, y_NCHW: seen.append(y_NCHW))
    assert accuracy(gated.model.module) > 0.7
    gates = torch.cat([one.flatten() for one in seen])
    assert torch.allclose(gates, torch.tensor(4.0).sigmoid(), atol=1e-6)


def test_an_open_gate_leaves_a_ghost_module_as_it_is() -> None:
    torch.manual_seed(0)
    ghost = GhostModule(nn.Conv2d(3, 4, 3, padding=1), ratio=2, kernel=3, activation=nn.ReLU())
    give_statistics(ghost, 4)
    before = copy.deepcopy(ghost).eval()
    assert relative_difference(before, neutral_gate(ghost, size=(8, 8)).eval(), torch.rand(10, 3, 8, 8)) < 1e-5


def test_normalisation_folded_before_is_no_obstacle() -> None:
    model, x_N = trained(), digits()[0].x_N[:512]
    folded = FoldBatchNorm()(model, context_of(model)).model
    result = SwapGhost(max_residual=9.0, sums=False)(folded, context_of(folded, x_N))
    assert accuracy(result.model.module) > 0.7


def test_options_outside_their_range_are_refused() -> None:
    with pytest.raises(UsageError, match="ratio"):
        SwapGhost(ratio=1)
    with pytest.raises(UsageError, match="max_residual"):
        SwapRepGhost(max_residual=0.0)
