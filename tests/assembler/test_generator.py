"""From logits to counts inside a limit."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_assemblers import LABELS, SPEC, genes

from edgekit.assembler.generator import BrickMacs, Generator, open_within
from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype

SIZES = range(len(SPEC.image_sizes))
MACS = [BrickMacs.of(SPEC, size) for size in SIZES]
BRICKS = max(block.bricks for block in SPEC.blocks)
logits = arrays(np.float64, (len(SPEC.blocks), BRICKS), elements=st.floats(-20, 20))
limits = st.floats(0.001, 1.2)


def macs_of(genotype: Genotype) -> int:
    return sum(operator.macs for operator in describe(SPEC, genotype, rows=LABELS, sums=None))


@settings(deadline=None)
@given(genes)
def test_macs_add_up_brick_by_brick(of_genotype):
    size, *counts = of_genotype
    assert MACS[size].of_counts(counts) == macs_of(SPEC.genotype(of_genotype))
    assert MACS[size].full == macs_of(SPEC.full)


@settings(deadline=None)
@given(logits, limits, st.sampled_from(SIZES))
def test_a_limit_is_kept_unless_only_the_smallest_is_left(z_BM, limit, size):
    opened = open_within(z_BM, SPEC, MACS[size], limit)
    genotype = SPEC.check(SPEC.genotype((size, *opened)))
    assert macs_of(genotype) <= limit * MACS[size].full or opened == SPEC.smallest.counts


@settings(deadline=None)
@given(logits)
def test_the_whole_budget_opens_every_brick(z_BM):
    falling = -np.sort(-z_BM, axis=1)
    assert open_within(falling, SPEC, MACS[-1], 1.0) == SPEC.full.counts


@settings(deadline=None)
@given(logits, limits)
def test_what_is_left_closed_did_not_fit_or_came_too_early(z_BM, limit):
    """With falling logits no next brick would still fit into what room is left."""
    falling = -np.sort(-z_BM, axis=1)
    opened = open_within(falling, SPEC, MACS[0], limit)
    room = limit * MACS[0].full - MACS[0].of_counts(opened)
    for block, count in enumerate(opened):
        assert count == SPEC.blocks[block].bricks or MACS[0].per_brick[block] > room


@settings(deadline=None)
@given(logits, limits, st.integers(0, len(SPEC.blocks) - 1))
def test_a_favoured_block_never_gets_fewer_bricks(z_BM, limit, block):
    falling = -np.sort(-z_BM, axis=1)
    favoured = falling.copy()
    favoured[block] += 50
    assert open_within(favoured, SPEC, MACS[0], limit)[block] >= open_within(falling, SPEC, MACS[0], limit)[block]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**30), st.sets(st.integers(0, LABELS - 1), min_size=1), st.floats(0.01, 1), st.sampled_from(SIZES)
)
def test_logits_fall_with_the_index_of_the_brick(seed, asked, limit, size):
    """So that opening by falling logit opens a prefix of each block."""
    torch.manual_seed(seed)
    generator = Generator(SPEC).requires_grad_(False)
    for parameter in generator.parameters():
        parameter.mul_(3)
    t_NL = torch.zeros(1, LABELS)
    t_NL[0, list(asked)] = 1
    (z_BM,) = generator(t_NL, torch.tensor([limit]), torch.tensor([size]))
    assert z_BM.shape == (len(SPEC.blocks), BRICKS)
    assert torch.isfinite(z_BM).all()
    assert (z_BM[:, 1:] <= z_BM[:, :-1]).all()
