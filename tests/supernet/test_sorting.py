"""Sorted channels: the same full network, its most important channels first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_supernets import MIXED, SPEC, random_supernet, specs
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.sorting import sort_channels
from edgekit.supernet.spec import Attention, BlockKind, SupernetSpec


@settings(deadline=None, max_examples=25)
@given(specs(), st.integers(0, 2**30))
def test_the_full_network_computes_the_same(spec, seed):
    supernet = random_supernet(seed, spec)
    x_NCHW = torch.rand(2, 3, spec.image_size, spec.image_size, generator=torch.Generator().manual_seed(seed))
    before = supernet(x_NCHW, spec.full)
    sort_channels(supernet)
    torch.testing.assert_close(supernet(x_NCHW, spec.full), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", [SPEC, MIXED])
def test_sorting_twice_changes_nothing(spec: SupernetSpec) -> None:
    supernet = random_supernet(3, spec)
    sort_channels(supernet)
    once = {name: value.clone() for name, value in supernet.state_dict().items()}
    sort_channels(supernet)
    for name, value in supernet.state_dict().items():
        torch.testing.assert_close(value, once[name], rtol=0, atol=0)


def test_the_first_channels_carry_the_most_energy() -> None:
    """Measured on activations drawn as the closed form supposes, of blocks whose order is free."""
    supernet = random_supernet(5)
    sort_channels(supernet)
    draw = torch.Generator().manual_seed(0)
    for block in supernet.blocks:
        assert block.spec.attention is Attention.NONE
        norm = block.norm_first if block.spec.kind is BlockKind.FUSED else block.norm_depthwise
        y_NC = torch.randn(100_000, len(norm.beta), generator=draw) * norm.gamma + norm.beta
        energy = (F.relu(y_NC).square().mean(0) * block.w_project.flatten(1).square().sum(0)).numpy()
        assert (np.diff(energy) <= 0.05 * energy.max()).all()
