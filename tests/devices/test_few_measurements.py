from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.devices.few_measurements import d_optimal, fit_few


def networks(seed: int, number: int, columns: int) -> np.ndarray:
    """Counts of operators, and a column of ones."""
    rng = np.random.default_rng(seed)
    return np.hstack([rng.integers(0, 6, (number, columns)), np.ones((number, 1))]).astype(float)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(1, 6))
def test_latencies_that_are_sums_are_found_from_ten_measurements(seed: int, columns: int) -> None:
    x_NF = networks(seed, 300, columns)
    latency_ms_N = x_NF @ np.random.default_rng(seed + 1).uniform(0.2, 3, columns + 1)
    picked = list(d_optimal(x_NF, 10))
    fit = fit_few({"counts": x_NF[picked]}, latency_ms_N[picked])
    assert np.abs(fit.latency_ms(x_NF) / latency_ms_N - 1).max() < 0.05
    assert np.abs(fit.log_errors_N).max() < 0.2


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_more_work_never_takes_less_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x_NF = networks(seed, 10, 4)
    fit = fit_few({"counts": x_NF}, rng.lognormal(0, 1, 10))
    assert (fit.weights_F >= 0).all()
    assert (fit.latency_ms(x_NF + rng.uniform(0, 2, x_NF.shape)) >= fit.latency_ms(x_NF)).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_description_that_explains_the_measurements_is_chosen(seed: int) -> None:
    honest, misleading = networks(seed, 12, 3), networks(seed + 1, 12, 3)
    latency_ms_N = honest @ np.array([1.0, 2.0, 0.5, 0.3])
    assert fit_few({"other": misleading, "mine": honest}, latency_ms_N).description == "mine"


def test_picks_say_as_much_as_the_best_of_all_choices() -> None:
    """By enumeration: greedy picks reach nearly the largest determinant of the information matrix."""
    x_NF = networks(3, 12, 2)
    x_NF = x_NF / np.sqrt((x_NF**2).mean(0))

    def information(rows: tuple[int, ...]) -> float:
        return float(np.linalg.slogdet(x_NF[list(rows)].T @ x_NF[list(rows)])[1])

    best = max(information(rows) for rows in itertools.combinations(range(12), 4))
    picked = d_optimal(x_NF, 4)
    assert len(set(picked)) == 4
    assert information(picked) > best - 0.5
    assert d_optimal(x_NF, 4) == picked
    assert set(d_optimal(x_NF, 99)) == set(range(12))


@pytest.mark.parametrize("latencies", [[1.0, 2.0], [1.0, 2.0, 0.0], [1.0, 2.0, -1.0]])
def test_too_little_to_fit_is_refused(latencies: list[float]) -> None:
    with pytest.raises(ValueError, match="three positive"):
        fit_few({"counts": np.ones((len(latencies), 1))}, np.array(latencies))
