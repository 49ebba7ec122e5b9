"""Means that a few wrong updates cannot move far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import trim_mean

from edgekit.pruning.aggregation import against_most, bounded, trimmed_mean, weights_of

DELTAS = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.floats(-100, 100, width=32))


@given(DELTAS, st.sampled_from([0.0, 0.1, 0.2, 0.4]))
def test_equal_weights_give_the_trimmed_mean_of_scipy(delta_KV: np.ndarray, trim: float) -> None:
    weight_K = np.full(len(delta_KV), 1 / len(delta_KV))
    expected = trim_mean(delta_KV.astype(np.float64), trim, axis=0)
    assert np.allclose(trimmed_mean(delta_KV, weight_K, trim), expected, atol=1e-4)


@given(DELTAS)
def test_without_trimming_it_is_the_weighted_mean(delta_KV: np.ndarray) -> None:
    weight_K = weights_of(list(range(1, len(delta_KV) + 1)))
    expected = np.average(delta_KV.astype(np.float64), axis=0, weights=weight_K)
    assert np.allclose(trimmed_mean(delta_KV, weight_K, 0.0), expected, atol=1e-4)


@given(DELTAS, st.integers(0, 2**31))
def test_the_order_of_clients_does_not_matter(delta_KV: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(delta_KV))
    weight_K = weights_of(list(range(1, len(delta_KV) + 1)))
    one, other = (trimmed_mean(delta_KV[some], weight_K[some], 0.2) for some in (np.arange(len(order)), order))
    ties = any(len(np.unique(column)) < len(column) for column in delta_KV.T)
    assert ties or np.allclose(one, other, atol=1e-4)


@given(DELTAS, st.floats(1e3, 1e30))
def test_two_of_ten_cannot_leave_the_range_of_the_others(delta_KV: np.ndarray, far: float) -> None:
    honest = np.repeat(delta_KV[:1], 8, 0) + np.arange(8, dtype=np.float32)[:, None]
    hostile = np.full((2, honest.shape[1]), far, np.float32)
    mean_V = trimmed_mean(np.concatenate([honest, hostile]), np.full(10, 0.1), 0.2)
    assert (mean_V >= honest.min(0) - 1e-3).all()
    assert (mean_V <= honest.max(0) + 1e-3).all()


def test_what_a_client_did_not_train_counts_for_nothing() -> None:
    delta_KV = np.array([[1.0, 5.0, 9.0], [3.0, 7.0, 9.0]], np.float32)
    has_KV = np.array([[True, True, False], [True, False, False]])
    assert trimmed_mean(delta_KV, np.array([0.5, 0.5]), 0.0, has_KV).tolist() == [2.0, 5.0, 0.0]


@given(st.integers(5, 12), st.integers(0, 2**31))
def test_missing_values_are_trimmed_as_if_the_client_were_not_there(number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    delta_KV = rng.normal(size=(number, 1)).astype(np.float32)
    has_KV = np.ones((number, 1), bool)
    has_KV[0] = False
    weight_K = np.full(number, 1 / number)
    without = trimmed_mean(delta_KV[1:], np.full(number - 1, 1 / (number - 1)), 0.2)
    assert trimmed_mean(delta_KV, weight_K, 0.2, has_KV) == pytest.approx(without)


@given(DELTAS, st.floats(1, 10))
def test_no_update_is_longer_than_the_bound(delta_KV: np.ndarray, limit: float) -> None:
    result = bounded(delta_KV, slice(None), limit)
    norms = np.linalg.norm(delta_KV.astype(np.float64), axis=1)
    bound = limit * np.median(norms)
    after = np.linalg.norm(result.astype(np.float64), axis=1)
    assert (after <= bound * (1 + 1e-4) + 1e-6).all()
    kept = norms <= bound
    assert np.array_equal(result[kept], delta_KV[kept])


def test_only_the_part_is_bounded() -> None:
    delta_KV = np.array([[1, 50], [1, 60], [1000, 70]], np.float32)
    assert bounded(delta_KV, slice(0, 1), 2.0).tolist() == [[1, 50], [1, 60], [2, 70]]


def test_nobody_weighs_more_than_twice_the_median_by_what_it_claims() -> None:
    assert weights_of([100, 100, 10**9]).tolist() == [0.25, 0.25, 0.5]


@given(st.integers(5, 12), st.integers(0, 2**31))
def test_whoever_sends_the_opposite_is_told_from_who_learnt_something_else(number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=200)
    delta_KV = (common + rng.normal(size=(number, 200))).astype(np.float32)
    delta_KV[1] *= -5
    assert against_most(delta_KV, number // 5).tolist() == [index == 1 for index in range(number)]


@given(DELTAS, st.integers(0, 5))
def test_no_more_are_against_most_than_may_be(delta_KV: np.ndarray, most: int) -> None:
    assert against_most(delta_KV, most).sum() <= most


def test_of_two_camps_neither_is_shut_out() -> None:
    """Clients that see one label each: half of them pull the other way."""
    camps = np.repeat([[1.0, 0.1], [-1.0, 0.1]], 5, 0).astype(np.float32)
    assert against_most(camps, 2).sum() == 2
