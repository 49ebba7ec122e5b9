"""A supernet of every kind of block, with random weights and statistics, and its genotypes and tasks."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from edgekit.supernet.blocks import ChannelNorm, CountNorm
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import BlockKind, BlockSpec, SupernetSpec
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task, TaskKind

LABELS = 7


def block(
    kind: BlockKind, channels_in: int, channels_out: int, hidden: int, bricks: int, *, kernel: int = 3, stride: int = 1
) -> BlockSpec:
    return BlockSpec(
        kind=kind,
        in_channels=channels_in,
        out_channels=channels_out,
        hidden_channels=hidden,
        kernel=kernel,
        stride=stride,
        bricks=bricks,
    )


FUSED, INVERTED = BlockKind.FUSED, BlockKind.INVERTED
SPEC = SupernetSpec(
    image_size=16,
    stem_channels=4,
    blocks=(
        block(FUSED, 4, 4, 8, 4),
        block(FUSED, 4, 6, 12, 3, stride=2),
        block(INVERTED, 6, 6, 10, 5, kernel=5),
        block(INVERTED, 6, 8, 16, 8, kernel=5, stride=2),
        block(INVERTED, 8, 8, 12, 4),
        block(INVERTED, 8, 10, 4, 2),
    ),
    labels=LABELS,
)


def random_supernet(seed: int, spec: SupernetSpec = SPEC) -> Supernet:
    """In eval mode, its normalisation far from the identity."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        supernet = Supernet(spec).eval()
        for norm in supernet.modules():
            if isinstance(norm, (ChannelNorm, CountNorm)):
                norm.mean.copy_(torch.randn(norm.mean.shape, generator=draw) * 0.3)
                norm.var.copy_(torch.rand(norm.var.shape, generator=draw) * 2 + 0.2)
                norm.gamma.copy_(torch.randn(norm.gamma.shape, generator=draw))
                norm.beta.copy_(torch.randn(norm.beta.shape, generator=draw) * 0.5)
    return supernet.requires_grad_(False)


def genotypes(spec: SupernetSpec = SPEC) -> st.SearchStrategy[Genotype]:
    """Any masks that the supernet allows, prefixes or not."""
    masks = (st.integers(block.fewest_bricks, (1 << block.bricks) - 1) for block in spec.blocks)
    return st.tuples(*masks).map(Genotype)


@st.composite
def tasks(draw: st.DrawFn, labels: int = LABELS) -> Task:
    kind = draw(st.sampled_from(TaskKind))
    other = kind is TaskKind.CLASSIFY and draw(st.booleans())
    fewest = 2 if kind is TaskKind.CLASSIFY and not other else 1
    indices = draw(st.sets(st.integers(0, labels - 1), min_size=fewest, max_size=labels - 1))
    return Task(kind=kind, indices=tuple(sorted(indices)), other=other, text="drawn")
