"""Genotypes as text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import UsageError
from edgekit.supernet.genotype import Genotype

anything = st.lists(st.integers(0, (1 << 70) - 1), min_size=1, max_size=12).map(lambda masks: Genotype(tuple(masks)))


@settings(deadline=None)
@given(anything)
def test_a_printed_genotype_reads_as_itself(genotype: Genotype) -> None:
    assert Genotype.parse(str(genotype)) == genotype


@settings(deadline=None)
@given(st.text("0123456789abcdefABCDEFx_+- .", max_size=12))
def test_a_text_is_canonical_or_refused(text: str) -> None:
    try:
        genotype = Genotype.parse(text)
    except UsageError:
        return
    assert str(genotype) == text
    assert all(mask >= 0 for mask in genotype.masks)


@pytest.mark.parametrize("text", ["", ".", "ff.", "ff..01", "stop", "0g", "ff,01", "-1", "ff.-1", "-ff.01"])
def test_what_is_no_genotype_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a genotype"):
        Genotype.parse(text)


@pytest.mark.parametrize("text", ["FF.01", "ff.1", "0x1f.01", " ff.01", "ff.01\n", "+f.01", "00ff.01", "f_f.01"])
def test_another_spelling_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(UsageError, match="canonical") as caught:
        Genotype.parse(text)
    assert Genotype.parse(caught.value.hint.split('"')[1])


@settings(deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=8))
def test_a_prefix_opens_the_first_bricks(counts: list[int]) -> None:
    genotype = Genotype.prefix(counts)
    assert genotype.counts == tuple(counts)
    for block, count in enumerate(counts):
        assert genotype.open_bricks(block) == tuple(range(count))


@settings(deadline=None)
@given(anything)
def test_counts_are_those_of_the_open_bricks(genotype: Genotype) -> None:
    for block, mask in enumerate(genotype.masks):
        bricks = genotype.open_bricks(block)
        assert genotype.counts[block] == len(bricks)
        assert sum(1 << brick for brick in bricks) == mask
