"""Samples dealt to clients: each once, whole units together, shares as asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UsageError
from edgekit.federated.partition import by_dirichlet, by_unit, evenly, partition


@given(st.integers(1, 12), st.integers(12, 40), st.integers(0, 2**31))
def test_a_unit_stays_with_one_client_and_every_sample_is_dealt_once(clients: int, units: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    unit_N = rng.permutation(np.repeat(np.arange(units), rng.integers(1, 6, units)))
    parts = by_unit(unit_N, clients, np.random.default_rng(seed))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(unit_N)))
    owners = [set(unit_N[part].tolist()) for part in parts]
    assert sum(map(len, owners)) == units
    assert max(map(len, owners)) - min(map(len, owners)) <= 1


@given(st.integers(1, 10), st.floats(0.05, 100), st.integers(0, 2**31))
def test_dirichlet_deals_every_sample_once_and_leaves_nobody_without(clients: int, spread: float, seed: int) -> None:
    y_N = np.random.default_rng(seed).integers(0, 5, 200)
    parts = by_dirichlet(y_N, clients, spread, np.random.default_rng(seed))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(200))
    assert min(map(len, parts)) >= 2


def test_a_small_concentration_gives_clients_of_few_labels() -> None:
    y_N = np.repeat(np.arange(10), 100)

    def labels(spread: float) -> float:
        parts = by_dirichlet(y_N, 10, spread, np.random.default_rng(0))
        return float(np.mean([np.exp(-sum(p * np.log(p) for p in _shares(y_N[part]))) for part in parts]))

    assert labels(0.05) < 4 < 9 < labels(100)


def _shares(y_N: np.ndarray) -> np.ndarray:
    return np.unique(y_N, return_counts=True)[1] / len(y_N)


@given(st.integers(1, 20), st.integers(20, 60))
def test_evenly_is_even(clients: int, number: int) -> None:
    parts = evenly(number, clients, np.random.default_rng(0))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(number))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("kind", ["", "odd", "dirichlet:0", "dirichlet:-1", "dirichlet:x", "dirichlet:nan", "even:3"])
def test_an_unknown_way_to_deal_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="not a way to deal"):
        partition(kind, np.zeros(20, np.int64), np.arange(20), 4, 0)


@pytest.mark.parametrize("kind", ["natural", "even", "dirichlet"])
@pytest.mark.parametrize("clients", [0, -1, 50])
def test_more_clients_than_there_is_to_deal_are_refused(kind: str, clients: int) -> None:
    with pytest.raises(UsageError, match="clients"):
        partition(kind, np.zeros(20, np.int64), np.arange(20) // 2, clients, 0)
