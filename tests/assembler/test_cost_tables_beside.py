"""Tables over blocks that stand beside each other: exact but for the memory, which is never stated too low."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_assemblers import LABELS, cost_of, tasks

from edgekit.assembler.costs import CostTables
from edgekit.supernet.description import describe
from edgekit.supernet.spec import Attention, BlockKind, BlockSpec, SupernetSpec

FUSED, INVERTED, GHOST, REPGHOST = BlockKind


def block(
    kind: BlockKind,
    channels: tuple[int, int],
    hidden: int,
    *,
    stride: int = 1,
    attention: Attention = Attention.NONE,
    beside: bool = False,
) -> BlockSpec:
    return BlockSpec(
        kind=kind,
        in_channels=channels[0],
        out_channels=channels[1],
        hidden_channels=hidden,
        kernel=3,
        stride=stride,
        bricks=4,
        attention=attention,
        beside=beside,
    )


# With and without a shortcut, a light block beside a heavy one and the other way round.
SPEC = SupernetSpec(
    image_sizes=(16, 32),
    stem_channels=8,
    blocks=(
        block(FUSED, (8, 8), 16),
        block(REPGHOST, (8, 8), 64, beside=True),
        block(GHOST, (8, 8), 32, attention=Attention.ECA, beside=True),
        block(INVERTED, (8, 16), 64, stride=2),
        block(FUSED, (8, 16), 8, stride=2, attention=Attention.SE, beside=True),
        block(FUSED, (16, 16), 32),
        block(INVERTED, (16, 24), 16),
        block(GHOST, (16, 24), 64, beside=True),
    ),
    labels=LABELS,
)
PRICE = cost_of("rpi4:tflite-int8")
genes = st.tuples(*(st.integers(least, most) for least, most in zip(SPEC.least_genes, SPEC.most_genes, strict=True)))


@settings(deadline=None, max_examples=150)
@given(genes, tasks())
def test_tables_price_blocks_beside_each_other(of_genotype, task):
    genotype = SPEC.genotype(of_genotype)
    direct = PRICE(describe(SPEC, genotype, rows=len(task.head_rows(SPEC.labels)), sums=task.sums))
    cost = CostTables.of(SPEC, task, PRICE).cost(of_genotype)
    assert cost.macs == direct.macs
    assert cost.size_bytes == direct.size_bytes
    assert cost.latency_ms == pytest.approx(direct.latency_ms, rel=1e-12)
    assert cost.peak_ram_bytes >= direct.peak_ram_bytes
    if all(genotype.counts):
        assert cost.peak_ram_bytes == direct.peak_ram_bytes
