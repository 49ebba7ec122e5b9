"""The list of kinds of bricks, priced."""

from __future__ import annotations

import pytest

from edgekit.core.errors import UsageError
from edgekit.core.quantity import Evidence
from edgekit.pipeline.bricks import list_bricks
from edgekit.supernet.spec import Attention, BlockKind


def test_every_kind_and_attention_is_listed_with_its_paper() -> None:
    listed = list_bricks()
    assert {facts.name for facts in listed.kinds} == set(BlockKind)
    assert {facts.name for facts in listed.attentions} == set(Attention) - {Attention.NONE}
    for facts in (*listed.kinds, *listed.attentions):
        assert facts.source.startswith("arXiv ")
        assert facts.computes
        assert facts.latency.unit == "ms"
        assert facts.latency.evidence is Evidence.PREDICTED
        assert facts.latency.value > 0


def test_macs_and_weights_are_those_of_the_layers() -> None:
    """By hand: 64 -> 64 channels, 256 hidden, 3 x 3, 8 x 8 positions."""
    found = {facts.name: (facts.macs, facts.weights) for facts in (*list_bricks().kinds, *list_bricks().attentions)}
    inverted = 64 * 256 + 9 * 256 + 256 * 64
    assert found["fused"] == (64 * (64 * 256 * 9 + 256 * 64), 64 * 256 * 9 + 256 * 64)
    assert found["inverted"] == found["repghost"] == (64 * inverted, inverted)
    ghost = 64 * 128 * 9 + 9 * 128 + 256 * 64
    assert found["ghost"] == (64 * ghost, ghost)
    assert found["se"] == (2 * 256 * 16, 2 * 256 * 16)
    assert found["eca"] == (3 * 256, 3)


def test_another_target_has_other_costs() -> None:
    int8, fp32 = list_bricks("rpi4"), list_bricks("rpi4:tflite-fp32")
    for one, other in zip(int8.kinds, fp32.kinds, strict=True):
        assert one.macs == other.macs
        assert one.latency.value < other.latency.value


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="rpi9"):
        list_bricks("rpi9")
