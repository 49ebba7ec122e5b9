"""An assembly that does not fit is refused when it is described, with both types in the message."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_supernets import FUSED, GHOST, INVERTED, LABELS, REPGHOST, block, specs

from edgekit.core.errors import BadInputError, ExitCode
from edgekit.supernet.ports import Layout, Port, ValueRange
from edgekit.supernet.spec import BlockSpec, SupernetSpec


def described(*blocks: BlockSpec) -> SupernetSpec:
    return SupernetSpec(image_sizes=(32,), stem_channels=24, blocks=blocks, labels=LABELS)


def message(*blocks: BlockSpec) -> str:
    with pytest.raises(BadInputError) as caught:
        described(*blocks)
    assert caught.value.code is ExitCode.BAD_INPUT
    assert caught.value.hint
    return caught.value.message


def test_both_types_are_named() -> None:
    assert message(block(FUSED, 24, 48, 24, 3, stride=2), block(REPGHOST, 64, 64, 64, 4)) == (
        "block 1 (repghost) takes NCHW 64 channels real at stride 4, "
        "but block 0 (fused) gives NCHW 48 channels real at stride 4"
    )
    assert message(block(GHOST, 16, 24, 24, 3)) == (
        "block 0 (ghost) takes NCHW 16 channels real at stride 2, "
        "but the stem gives NCHW 24 channels nonnegative at stride 2"
    )


def test_a_block_beside_another_reads_what_that_one_reads() -> None:
    assert message(block(FUSED, 24, 48, 24, 3), block(REPGHOST, 48, 48, 64, 4, beside=True)) == (
        "block 1 (repghost) takes NCHW 48 channels real at stride 2, "
        "but the stem gives NCHW 24 channels nonnegative at stride 2"
    )


@pytest.mark.parametrize(
    ("channels", "stride", "given"), [(32, 2, "32 channels real at stride 4"), (48, 1, "stride 2")]
)
def test_what_stands_beside_each_other_is_added(channels: int, stride: int, given: str) -> None:
    beside = block(INVERTED, 24, channels, 24, 3, stride=stride, beside=True)
    found = message(block(GHOST, 24, 48, 24, 3, stride=2), beside)
    assert found.startswith("block 1 (inverted) gives NCHW ")
    assert given in found
    assert found.endswith("but block 0 (ghost), beside which it stands, gives NCHW 48 channels real at stride 4")


def test_the_first_block_stands_beside_none() -> None:
    assert "it is the first" in message(block(FUSED, 24, 24, 24, 3, beside=True))


def test_a_ghost_brick_has_two_halves() -> None:
    with pytest.raises(BadInputError, match="ghost brick of 5 hidden channels"):
        block(GHOST, 24, 24, 15, 3)


@settings(deadline=None, max_examples=60)
@given(specs(), st.data())
def test_another_width_anywhere_is_refused_or_still_fits(spec: SupernetSpec, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(spec.blocks) - 1))
    wider = replace(spec.blocks[index], in_channels=spec.blocks[index].in_channels + 1)
    with pytest.raises(BadInputError, match=rf"block {index} \({wider.kind}\) takes NCHW {wider.in_channels} channels"):
        replace(spec, blocks=(*spec.blocks[:index], wider, *spec.blocks[index + 1 :]))


@settings(deadline=None, max_examples=60)
@given(specs())
def test_a_description_survives_json(spec: SupernetSpec) -> None:
    assert SupernetSpec.from_json(spec.to_json(), labels=LABELS) == spec


@settings(deadline=None, max_examples=30)
@given(specs())
def test_every_block_has_one_position(spec: SupernetSpec) -> None:
    assert [index for position in spec.positions for index in position] == list(range(len(spec.blocks)))
    for first, *others in spec.positions:
        assert not spec.blocks[first].beside
        assert all(spec.blocks[index].beside and spec.blocks[index].fewest_bricks == 0 for index in others)


def test_a_description_of_before_attention_and_neighbours_still_reads() -> None:
    old = described(block(FUSED, 24, 24, 24, 3))
    record = old.to_json()
    record["blocks"] = [
        {key: value for key, value in record["blocks"][0].items() if key not in {"attention", "beside"}}
    ]
    assert SupernetSpec.from_json(record, labels=LABELS) == old


def test_a_wider_range_takes_a_narrower_one() -> None:
    unit, nonnegative, real = (Port(layout=Layout.NCHW, channels=3, values=values, stride=1) for values in ValueRange)
    assert real.accepts(nonnegative)
    assert nonnegative.accepts(unit)
    assert not unit.accepts(real)
    assert not real.accepts(replace(real, layout=Layout.NK))
