"""Conditions of `edgekit compare --fail-on`: how they are read, and when they hold."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekit.core.errors import UsageError
from edgekit.pipeline.comparison.conditions import parse_condition

FIGURES = st.sampled_from(
    ["latency", "peak RAM", "latency, 0.5ms", "instructions, total", "measured / predicted", "MACs"]
)
NUMBERS = st.decimals(0, 10**6, allow_nan=False, allow_infinity=False, places=3).map(lambda number: f"{number:f}")
SPACES = st.text(" ", max_size=2)
VALUES = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=6).map(float)


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, str, str, str, str]:
    """Its parts: figure, side, sign, number, per cent."""
    sign = draw(st.sampled_from(["", "+", "-"]))
    percent = draw(st.sampled_from(["", "%"])) if sign else ""
    return draw(FIGURES), draw(st.sampled_from("<>")), sign, draw(NUMBERS), percent


def limit_by_hand(sign: str, number: str, percent: str, first: float) -> Decimal:
    """In decimal arithmetic, as one would on paper."""
    base, change = Decimal(repr(first)), Decimal(f"{sign}{number}")
    if not sign:
        return change
    return base + (change * abs(base) / 100 if percent else change)


@settings(deadline=None)
@given(parts=conditions(), spaces=st.lists(SPACES, min_size=5, max_size=5))
def test_every_condition_is_read_as_it_is_written(parts: tuple[str, ...], spaces: list[str]) -> None:
    figure, side, sign, number, percent = parts
    text = f"{spaces[0]}{figure}{spaces[1]}{side}{spaces[2]}{sign}{number}{spaces[3]}{percent}{spaces[4]}"
    read = parse_condition(text)
    assert (read.figure, read.above, read.is_change, read.is_share) == (figure, side == ">", bool(sign), bool(percent))
    assert read.number == Fraction(f"{sign}{number}")
    assert read.text == text.strip()


@settings(deadline=None)
@given(parts=conditions(), first=VALUES, value=VALUES)
def test_a_condition_holds_as_decimal_arithmetic_has_it(parts: tuple[str, ...], first: float, value: float) -> None:
    figure, side, sign, number, percent = parts
    with localcontext(prec=200):
        limit, given_ = limit_by_hand(sign, number, percent, first), Decimal(repr(value))
        expected = given_ > limit if side == ">" else given_ < limit
    assert parse_condition(f"{figure}{side}{sign}{number}{percent}").holds(value, first) is expected


@settings(deadline=None)
@given(parts=conditions(), first=VALUES)
def test_what_lies_on_the_limit_passes_and_what_lies_beyond_does_not(parts: tuple[str, ...], first: float) -> None:
    figure, side, sign, number, percent = parts
    condition = parse_condition(f"{figure}{side}{sign}{number}{percent}")
    with localcontext(prec=200):
        limit = limit_by_hand(sign, number, percent, first)
    on_it = float(limit)
    assume(Decimal(repr(on_it)) == limit)
    outward = 1.0 if side == ">" else -1.0
    step = max(abs(on_it) * 1e-9, 1e-9)
    assert not condition.holds(on_it, first)
    assert condition.holds(on_it + outward * step, first)
    assert not condition.holds(on_it - outward * step, first)


def test_numbers_are_those_that_are_printed() -> None:
    assert not parse_condition("latency>+5%").holds(1.05, 1.0)
    assert not parse_condition("latency>+10%").holds(0.33, 0.3)
    assert not parse_condition("latency>+0.1").holds(0.3, 0.2)
    assert parse_condition("accuracy<-0.5%").holds(0.9949999, 1.0)


def test_a_share_of_nothing_is_nothing_and_of_a_negative_figure_goes_the_same_way() -> None:
    assert parse_condition("size saved>+5%").holds(0.001, 0.0)
    assert not parse_condition("size saved>+5%").holds(0.0, 0.0)
    assert parse_condition("share<-10%").holds(-1.2, -1.0)
    assert not parse_condition("share<-10%").holds(-1.05, -1.0)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "latency",
            "latency>",
            ">5",
            " >5",
            "latency=5",
            "latency>=5",
            "latency>5>6",
            "latency<>5",
            "latency>five",
        ),
        *(
            "latency>5ms",
            "latency>+-5",
            "latency>+ 5",
            "latency>5.",
            "latency>.5",
            "latency>1e3",
            "latency>nan",
            "latency>inf",
        ),
        *("latency>+5%%", "latency>+5 percent", "latency>٥", "latency>+5%\nsize>1", "latency>1_000", "latency>1,000"),
    ],
)
def test_what_is_no_condition_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(UsageError, match="is no condition") as raised:
        parse_condition(text)
    assert "latency>+5%" in raised.value.hint


def test_a_share_must_say_which_way_it_goes() -> None:
    with pytest.raises(UsageError, match="which way") as raised:
        parse_condition("size > 5%")
    assert '"size>+5%"' in raised.value.hint
    assert '"size>-5%"' in raised.value.hint
