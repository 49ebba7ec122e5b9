from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_surroundings import context_of, give_statistics, model_of, relative_difference, trace_of
from torch import Tensor, nn

from edgekit.passes.branch_merging import merge_branches
from edgekit.passes.fold import FoldBatchNorm
from edgekit.passes.reparameterise import Reparameterise


class Branches(nn.Module):
    """A sum over `branches`, and over the input itself where `plain`."""

    def __init__(self, branches: list[nn.Module], *, plain: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.branches, self.plain = nn.ModuleList(branches), plain

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = torch.relu(self.first(x_NCHW))
        y_NCHW: Tensor = self.branches[0](x_NCHW)
        for branch in list(self.branches)[1:]:
            y_NCHW = y_NCHW + branch(x_NCHW)
        return torch.relu(y_NCHW + x_NCHW if self.plain else y_NCHW)


def convolutions(module: nn.Module) -> int:
    return sum(isinstance(one, nn.Conv2d) for one in module.modules())


@st.composite
def networks(draw: st.DrawFn) -> Branches:
    """RepVGG's and RepGhost's kinds of branches, with groups, strides, steps and kernels at random."""
    stride = draw(st.sampled_from([1, 2]))
    groups = draw(st.sampled_from([1, 2, 8]))
    outputs = 8 if stride == 1 else draw(st.sampled_from([8, 16]))
    kernels = draw(st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=3))
    step = draw(st.sampled_from([1, 2]))
    branches: list[nn.Module] = [
        nn.Sequential(
            nn.Conv2d(
                8,
                outputs,
                kernel,
                stride=stride,
                padding=step * (kernel // 2),
                dilation=step,
                groups=groups,
                bias=draw(st.booleans()),
            ),
            nn.BatchNorm2d(outputs) if draw(st.booleans()) else nn.Identity(),
        )
        for kernel in kernels
    ]
    if stride == 1:
        branches.append(nn.BatchNorm2d(8))
    elif len(branches) == 1:
        branches.append(nn.Conv2d(8, outputs, 1, stride=2, groups=groups))
    order = draw(st.permutations(branches))
    return Branches(order, plain=stride == 1 and draw(st.booleans()))


@settings(max_examples=25, deadline=None)
@given(network=networks(), seed=st.integers(0, 2**16))
def test_branches_become_one_convolution_that_computes_the_same(network: Branches, seed: int) -> None:
    torch.manual_seed(seed)
    give_statistics(network, seed)
    module = trace_of(network)
    assert merge_branches(module, (3, 11, 11))
    assert convolutions(module) == 2
    assert relative_difference(trace_of(network), module, torch.randn(10, 3, 11, 11)) < 1e-5
    assert merge_branches(module, (3, 11, 11)) == []


def test_a_folded_repvgg_block_is_merged_too() -> None:
    branches = [
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)),
        nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)),
        nn.BatchNorm2d(8),
    ]
    network = Branches(branches)
    give_statistics(network, 3)
    model = model_of(network, (3, 8, 8))
    folded = FoldBatchNorm()(model, context_of(model)).model
    merged = Reparameterise()(folded, context_of(folded)).model
    assert convolutions(merged.module) == 2
    assert relative_difference(model.module, merged.module, torch.randn(10, 3, 8, 8)) < 1e-5
    assert sum(one.macs for one in merged.operators) < sum(one.macs for one in model.operators)
    assert not Reparameterise()(merged, context_of(merged)).modified


def test_what_would_take_more_macs_or_does_not_fit_is_left() -> None:
    dearer = Branches([nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)])
    bent = Branches([nn.Conv2d(8, 8, (1, 5), padding=(0, 2)), nn.Conv2d(8, 8, (5, 1), padding=(2, 0))])
    other_steps = Branches([nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=2, dilation=2)])
    reflected = Branches(
        [nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 1))]
    )
    for network in (dearer, bent, other_steps, reflected):
        assert merge_branches(trace_of(network), (3, 8, 8)) == []


class Bystander(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.other = nn.Conv2d(3, 3, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        one_NCHW = self.one(x_NCHW)
        return torch.cat([one_NCHW + self.two(x_NCHW) + self.other(one_NCHW.relu()), x_NCHW], 1)


def test_a_branch_that_another_layer_reads_is_left() -> None:
    model = model_of(Bystander(), (3, 8, 8))
    assert not Reparameterise()(model, context_of(model)).modified


def test_masks_of_merged_kernels_are_dropped_and_others_kept() -> None:
    network = Branches([nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)])
    masks = {}
    for name in ("first.weight", "branches.0.weight", "branches.1.weight"):
        masks[name] = torch.rand_like(network.get_parameter(name)) > 0.5
        network.get_parameter(name).data *= masks[name]
    model = model_of(network, (3, 8, 8), masks)
    result = Reparameterise()(model, context_of(model))
    assert set(result.model.masks) == {"first.weight"}
