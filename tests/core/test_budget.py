"""Limits as a user writes them, and what it means to keep them."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.budget import Budget, Cost, Share, parse_limit
from edgekit.core.errors import ExitCode, UsageError

NAMES = tuple(field.name for field in fields(Cost))
positive = st.floats(min_value=1e-6, max_value=1e12)
fractions = st.floats(min_value=1e-6, max_value=1)
costs = st.builds(Cost, latency_ms=positive, size_bytes=positive, peak_ram_bytes=positive, macs=positive)
limits = st.none() | positive | st.builds(Share, fraction=fractions)
budgets = st.builds(
    Budget,
    latency_ms=limits,
    size_bytes=limits,
    peak_ram_bytes=limits,
    macs=limits,
    min_accuracy=st.none() | fractions,
)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("1", 1.0),
        ("0.25", 0.25),
        ("6e4", 60000.0),
        ("25%", Share(fraction=0.25)),
        (" 12.5 % ", Share(fraction=0.125)),
        ("100%", Share(fraction=1.0)),
    ],
)
def test_a_limit_is_a_number_or_a_share(text: str, limit: float | Share) -> None:
    assert parse_limit(text, name="macs") == limit


@pytest.mark.parametrize("text", ["", "fast", "1 ms", "%", "25%%", "1,5", "--5%", "1e%", "0x10"])
def test_nonsense_is_refused_by_the_name_of_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="size_bytes") as caught:
        parse_limit(text, name="size_bytes")
    assert caught.value.code is ExitCode.USAGE
    assert "25%" in caught.value.hint


@pytest.mark.parametrize("text", ["0%", "-5%", "100.1%", "1e9%"])
def test_a_share_outside_of_0_to_100_percent_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must lie between 0 % and 100 %"):
        parse_limit(text, name="macs")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_limit_makes_no_budget(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=name):
        Budget(**{name: parse_limit(text, name=name)})


@pytest.mark.parametrize("floor", [0.0, -0.5, 1.01, 97.0, float("nan")])
def test_a_floor_is_a_fraction(floor: float) -> None:
    with pytest.raises(UsageError, match="min_accuracy"):
        Budget(min_accuracy=floor)


@settings(deadline=None)
@given(fractions)
def test_a_printed_share_reads_as_itself(fraction: float) -> None:
    share = parse_limit(str(Share(fraction=fraction)), name="macs")
    assert isinstance(share, Share)
    assert share.fraction == pytest.approx(fraction, rel=1e-5)


@settings(deadline=None)
@given(budgets, costs)
def test_resolving_leaves_absolute_limits_and_turns_shares_of_the_full_cost(budget: Budget, full: Cost) -> None:
    resolved = budget.resolve(full)
    assert resolved.min_accuracy == budget.min_accuracy
    for name in NAMES:
        limit, absolute = getattr(budget, name), getattr(resolved, name)
        expected = limit.fraction * getattr(full, name) if isinstance(limit, Share) else limit
        assert absolute == expected
    assert resolved.resolve(full) == resolved


@settings(deadline=None)
@given(budgets, costs, costs)
def test_a_limit_is_broken_exactly_where_the_cost_is_above_it(budget: Budget, full: Cost, cost: Cost) -> None:
    resolved = budget.resolve(full)
    broken = resolved.broken_by(cost)
    for name in NAMES:
        limit = getattr(resolved, name)
        assert (name in broken) == (limit is not None and getattr(cost, name) > limit)


@settings(deadline=None)
@given(budgets, costs)
def test_the_full_network_keeps_every_share(budget: Budget, full: Cost) -> None:
    shares = {name: getattr(budget, name) for name in NAMES if isinstance(getattr(budget, name), Share)}
    broken = Budget(**shares).resolve(full).broken_by(full)
    assert all(shares[name].fraction < 1 for name in broken)
    assert Budget().broken_by(full) == ()


@settings(deadline=None)
@given(costs, st.sampled_from(NAMES))
def test_a_cost_equal_to_its_limit_is_kept(cost: Cost, name: str) -> None:
    budget = Budget(**{name: getattr(cost, name)})
    assert budget.broken_by(cost) == ()
    assert budget.broken_by(replace(cost, **{name: getattr(cost, name) * 1.001})) == (name,)
