"""Supernets of every kind of block, with random weights and statistics, and their genotypes and tasks."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from random_tasks import any_task

from edgekit.supernet.attention import SqueezeAndExcitation
from edgekit.supernet.blocks import ChannelNorm, CountNorm
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import Attention, BlockKind, BlockSpec, SupernetSpec
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task

LABELS = 7


def block(
    kind: BlockKind,
    channels_in: int,
    channels_out: int,
    hidden: int,
    bricks: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    attention: Attention = Attention.NONE,
    beside: bool = False,
) -> BlockSpec:
    return BlockSpec(
        kind=kind,
        in_channels=channels_in,
        out_channels=channels_out,
        hidden_channels=hidden,
        kernel=kernel,
        stride=stride,
        bricks=bricks,
        attention=attention,
        beside=beside,
    )


FUSED, INVERTED, GHOST, REPGHOST = BlockKind
SPEC = SupernetSpec(
    image_sizes=(8, 16),
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
MIXED = SupernetSpec(
    image_sizes=(8, 16),
    stem_channels=4,
    blocks=(
        block(GHOST, 4, 6, 16, 4, stride=2, attention=Attention.SE),
        block(REPGHOST, 4, 6, 12, 3, stride=2, kernel=5, beside=True),
        block(FUSED, 6, 6, 12, 3, attention=Attention.ECA),
        block(INVERTED, 6, 6, 20, 5, kernel=5, attention=Attention.SE, beside=True),
        block(GHOST, 6, 6, 24, 4, kernel=1, attention=Attention.ECA, beside=True),
        block(REPGHOST, 6, 8, 9, 3, attention=Attention.ECA),
    ),
    labels=LABELS,
)


@st.composite
def blocks(draw: st.DrawFn, channels_in: int, channels_out: int, stride: int, *, beside: bool) -> BlockSpec:
    bricks = draw(st.integers(1, 4))
    return block(
        draw(st.sampled_from(BlockKind)),
        channels_in,
        channels_out,
        bricks * 2 * draw(st.integers(1, 3)),
        bricks,
        kernel=draw(st.sampled_from([size for size in (1, 2, 3, 5) if size >= stride])),
        stride=stride,
        attention=draw(st.sampled_from(Attention)),
        beside=beside,
    )


@st.composite
def specs(draw: st.DrawFn) -> SupernetSpec:
    """Every kind, attention, kernel and stride, with up to two blocks beside the first of a position."""
    stem = channels = draw(st.integers(2, 6))
    listed: list[BlockSpec] = []
    for stride in draw(st.lists(st.sampled_from([1, 1, 2]), min_size=1, max_size=3)):
        channels_out = draw(st.one_of(st.just(channels), st.integers(2, 6)))
        listed += [
            draw(blocks(channels, channels_out, stride, beside=number > 0)) for number in range(draw(st.integers(1, 3)))
        ]
        channels = channels_out
    return SupernetSpec(image_sizes=(16, 32), stem_channels=stem, blocks=tuple(listed), labels=LABELS)


def random_supernet(seed: int, spec: SupernetSpec = SPEC) -> Supernet:
    """In eval mode, its normalisation far from the identity."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        supernet = Supernet(spec).eval()
        for module in supernet.modules():
            if isinstance(module, (ChannelNorm, CountNorm)):
                module.mean.copy_(torch.randn(module.mean.shape, generator=draw) * 0.3)
                module.var.copy_(torch.rand(module.var.shape, generator=draw) * 2 + 0.2)
                module.gamma.copy_(torch.randn(module.gamma.shape, generator=draw))
                module.beta.copy_(torch.randn(module.beta.shape, generator=draw) * 0.5)
            elif isinstance(module, SqueezeAndExcitation):
                module.b_reduce.copy_(torch.randn(module.b_reduce.shape, generator=draw))
                module.b_expand.copy_(torch.randn(module.b_expand.shape, generator=draw))
    return supernet.requires_grad_(False)


def genotypes(spec: SupernetSpec = SPEC) -> st.SearchStrategy[Genotype]:
    """Any masks and image sizes that the supernet allows, prefixes or not."""
    masks = (st.integers(block.fewest_bricks, (1 << block.bricks) - 1) for block in spec.blocks)
    return st.builds(Genotype, st.tuples(*masks), st.sampled_from((None, *spec.image_sizes[:-1])))


@st.composite
def any_subnet(draw: st.DrawFn) -> tuple[Supernet, Genotype]:
    spec = draw(specs())
    return random_supernet(draw(st.integers(0, 99)), spec), draw(genotypes(spec))


def images(spec: SupernetSpec, genotype: Genotype, seed: int, count: int = 2) -> torch.Tensor:
    size = spec.image_size_of(genotype)
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def tasks(labels: int = LABELS) -> st.SearchStrategy[Task]:
    return any_task(labels)
