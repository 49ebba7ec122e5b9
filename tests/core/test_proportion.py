"""Intervals of proportions against a library's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from edgekit.core.proportion import wilson_interval


@given(st.integers(1, 500), st.data())
def test_it_is_wilsons(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    reference = binomtest(successes, trials).proportion_ci(method="wilson")
    low, high = wilson_interval(successes / trials, trials)
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=1e-6)
    assert 0 <= low <= successes / trials <= high <= 1
