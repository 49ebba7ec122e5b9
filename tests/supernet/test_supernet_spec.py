"""Which supernets there can be, and which genotypes they have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_supernets import LABELS, SPEC, genotypes

from edgekit.core.errors import BadInputError, ExitCode
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec


def record(**changes: object) -> dict[str, Any]:
    return SPEC.to_json() | changes


def block_record(position: int, **changes: object) -> dict[str, Any]:
    blocks = list(SPEC.to_json()["blocks"])
    blocks[position] = blocks[position] | changes
    return record(blocks=blocks)


def test_a_card_describes_the_same_supernet() -> None:
    assert SupernetSpec.from_json(SPEC.to_json(), labels=LABELS) == SPEC


@settings(deadline=None)
@given(genotypes())
def test_genotypes_of_the_supernet_pass(genotype: Genotype) -> None:
    assert SPEC.check(genotype) is genotype


def test_smallest_and_full_are_the_ends_of_the_range() -> None:
    assert SPEC.check(SPEC.full).counts == (4, 3, 5, 8, 4, 2)
    assert SPEC.check(SPEC.smallest).counts == (0, 1, 0, 1, 0, 1)


@pytest.mark.parametrize("position", [1, 3, 5])
def test_a_block_that_changes_the_shape_cannot_close(position: int) -> None:
    masks = list(SPEC.full.masks)
    masks[position] = 0
    with pytest.raises(BadInputError, match=f"block {position}") as caught:
        SPEC.check(Genotype(tuple(masks)))
    assert caught.value.code is ExitCode.BAD_INPUT


@settings(deadline=None)
@given(st.integers(0, 5), st.integers(0, 3))
def test_bricks_that_a_block_does_not_have_are_refused(position: int, beyond: int) -> None:
    masks = list(SPEC.full.masks)
    masks[position] |= 1 << (SPEC.blocks[position].bricks + beyond)
    with pytest.raises(BadInputError, match=f"block {position}"):
        SPEC.check(Genotype(tuple(masks)))


@pytest.mark.parametrize("blocks", [1, 5, 7])
def test_a_genotype_of_another_supernet_is_refused(blocks: int) -> None:
    with pytest.raises(BadInputError, match="blocks"):
        SPEC.check(Genotype((1,) * blocks))


@pytest.mark.parametrize(
    "broken",
    [
        {},
        record(blocks=None),
        record(blocks=[]),
        record(blocks=["fused"]),
        record(image_sizes=None),
        record(image_sizes=["16"]),
        record(image_sizes=[]),
        record(image_sizes=[0, 16]),
        record(image_sizes=[16, 8]),
        record(image_sizes=[12]),
        record(stem_channels=5),
        block_record(0, kind="dense"),
        block_record(0, colour="red"),
        block_record(0, bricks=3),
        block_record(0, bricks=0),
        block_record(0, bricks=-4),
        block_record(0, bricks="4"),
        block_record(1, stride=0),
        block_record(1, in_channels=5),
        block_record(2, kernel=2.5),
        block_record(1, kernel=1),
        block_record(0, attention="cbam"),
        block_record(0, beside=True),
        block_record(1, beside="yes"),
    ],
)
def test_a_broken_description_is_bad_input(broken: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        SupernetSpec.from_json(broken, labels=LABELS)
