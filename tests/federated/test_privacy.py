"""Clipping, noise and what the accountant says, against the Gaussian mechanism's own formulas."""

from __future__ import annotations

import math
import secrets

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import kstest, norm

from edgekit.core.errors import BadInputError, UsageError
from edgekit.federated.privacy import (
    Privacy,
    clipped,
    drawn,
    epsilon,
    noise_multiplier_for,
    protected,
    public_positions,
)
from edgekit.federated.randomness import gaussian

NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)


@given(vector_P=arrays(np.float32, st.integers(1, 40), elements=NUMBERS), bound=st.floats(1e-3, 1e3))
def test_a_clipped_vector_is_short_enough_and_points_the_same_way(vector_P: np.ndarray, bound: float) -> None:
    clipped_P = clipped(vector_P, bound)
    before, after = (np.linalg.norm(one.astype(np.float64)) for one in (vector_P, clipped_P))
    assert after <= bound
    if before <= bound:
        assert clipped_P is vector_P
    else:
        assert after == pytest.approx(bound, rel=1e-5)
        assert clipped_P.astype(np.float64) @ vector_P == pytest.approx(before * after, rel=1e-5)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_an_update_that_is_not_finite_does_not_leave(wrong: float) -> None:
    with pytest.raises(BadInputError, match="not finite"):
        protected(np.array([1, wrong], np.float32), Privacy(clip=1, noise_multiplier=0), secrets.token_bytes)


def test_the_noise_is_gaussian_from_any_source_of_bytes() -> None:
    for source in (np.random.default_rng(0).bytes, secrets.token_bytes):
        assert kstest(gaussian(20_000, source), "norm").pvalue > 1e-6


def test_shares_of_the_noise_add_up_to_the_multiplier() -> None:
    privacy = Privacy(clip=0.5, noise_multiplier=2, shares=10)
    source = np.random.default_rng(0).bytes
    sum_P = np.sum([protected(np.zeros(20_000, np.float32), privacy, source) for _ in range(10)], axis=0)
    assert float(sum_P.std()) == pytest.approx(2 * 0.5, rel=0.02)


def test_the_same_seed_gives_the_same_noise_and_no_number_leaves_the_range() -> None:
    privacy = Privacy(clip=1, noise_multiplier=1)
    vector_P = np.full(1_000, 0.2, np.float32)
    one, two = (protected(vector_P, privacy, np.random.default_rng(3).bytes) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.abs(one).max() <= privacy.largest_entry


def gaussian_epsilon(multiplier: float, releases: int, delta: float) -> float:
    """Theorem 8 of arXiv 1805.06530; so many releases are one with a multiplier smaller by the root of their number."""
    sigma = multiplier / math.sqrt(releases)

    def excess(epsilon: float) -> float:
        return float(
            norm.cdf(0.5 / sigma - epsilon * sigma)
            - math.exp(epsilon + norm.logcdf(-0.5 / sigma - epsilon * sigma))
            - delta
        )

    return float(brentq(excess, 0, 10**6)) if excess(0) > 0 else 0.0


@pytest.mark.parametrize(("multiplier", "releases"), [(1.0, 1), (4.0, 1), (1.0, 30), (2.0, 100), (8.0, 30)])
def test_without_sampling_epsilon_is_that_of_the_gaussian_mechanism(multiplier: float, releases: int) -> None:
    privacy = Privacy(clip=3, noise_multiplier=multiplier, delta=1e-5)
    known = gaussian_epsilon(multiplier, releases, 1e-5)
    assert known <= epsilon(privacy, releases) <= known + 1e-3


@pytest.mark.parametrize("multiplier", [0.1, 0.01])
def test_too_little_noise_is_accounted_for_as_well_within_seconds(multiplier: float) -> None:
    """What hardly protects anybody must be told too: a course ends with this figure."""
    known = gaussian_epsilon(multiplier, 30, 1e-5)
    assert known <= epsilon(Privacy(clip=1, noise_multiplier=multiplier), 30) <= known * (1 + 1e-3)


@pytest.mark.parametrize(("multiplier", "rate"), [(0.7, 0.1), (1.0, 0.2), (2.0, 0.5)])
def test_with_sampling_epsilon_of_one_release_is_that_of_the_mixture(multiplier: float, rate: float) -> None:
    """The worse of both hockey-stick divergences of N(0, z^2) and (1 - q) N(0, z^2) + q N(1, z^2), by integration."""
    answer = epsilon(Privacy(clip=1, noise_multiplier=multiplier, delta=1e-3), 1, rate)

    def without(x: float) -> float:
        return float(norm.pdf(x, 0, multiplier))

    def mixture(x: float) -> float:
        return (1 - rate) * without(x) + rate * float(norm.pdf(x, 1, multiplier))

    def delta(first: object, second: object, at: float) -> float:
        def over(x: float) -> float:
            return max(0.0, first(x) - math.exp(at) * second(x))  # type: ignore[operator]

        return sum(quad(over, left, left + 1, limit=200)[0] for left in range(-25, 25))

    def worse(at: float) -> float:
        return max(delta(mixture, without, at), delta(without, mixture, at))

    assert worse(answer) <= 1e-3 * 1.001
    assert worse(answer - 0.01) > 1e-3


@settings(deadline=None, max_examples=20)
@given(
    multiplier=st.floats(0.8, 4),
    more_noise=st.floats(1.05, 2),
    releases=st.integers(1, 40),
    more_releases=st.integers(1, 40),
    rate=st.floats(0.05, 0.5),
)
def test_epsilon_falls_with_noise_and_grows_with_releases_and_sampling(
    multiplier: float, more_noise: float, releases: int, more_releases: int, rate: float
) -> None:
    privacy = Privacy(clip=1, noise_multiplier=multiplier)
    here = epsilon(privacy, releases, rate)
    step = 1e-6  # the accountant computes with numbers, not with formulas
    assert epsilon(Privacy(clip=1, noise_multiplier=multiplier * more_noise), releases, rate) <= here + step
    assert here <= epsilon(privacy, releases + more_releases, rate) + step
    assert here <= epsilon(privacy, releases, rate * 2) + step
    assert here <= epsilon(privacy, releases) + step


def test_without_noise_nothing_is_promised_and_without_releases_nothing_is_lost() -> None:
    assert epsilon(Privacy(clip=1, noise_multiplier=0), 1) == math.inf
    assert epsilon(Privacy(clip=1, noise_multiplier=0), 0) == 0


@pytest.mark.parametrize(("wanted", "rate"), [(0.5, 1.0), (8.0, 1.0), (2.0, 0.1)])
def test_the_noise_found_is_enough_and_hardly_more(wanted: float, rate: float) -> None:
    found = noise_multiplier_for(wanted, delta=1e-5, releases=30, sampling_rate=rate)
    assert epsilon(Privacy(clip=1, noise_multiplier=found), 30, rate) <= wanted
    assert epsilon(Privacy(clip=1, noise_multiplier=found * 0.998), 30, rate) > wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 0.0},
        {"clip": math.nan},
        {"noise_multiplier": -1.0},
        {"delta": 0.0},
        {"delta": 1.0},
        {"shares": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Privacy(**{"clip": 1.0, "noise_multiplier": 1.0, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(("releases", "rate"), [(-1, 1.0), (1, 0.0), (1, 1.1)])
def test_releases_and_rates_out_of_range_are_refused(releases: int, rate: float) -> None:
    with pytest.raises(UsageError):
        epsilon(Privacy(clip=1, noise_multiplier=1), releases, rate)


def test_an_epsilon_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        noise_multiplier_for(0, delta=1e-5, releases=1)


def test_every_client_is_drawn_on_its_own() -> None:
    generator = np.random.default_rng(0)
    sizes = [len(drawn(range(100), 0.2, generator)) for _ in range(400)]
    assert np.mean(sizes) == pytest.approx(20, abs=1)
    assert np.var(sizes) == pytest.approx(100 * 0.2 * 0.8, rel=0.25)


@given(mask=arrays(np.bool_, (5, 7)), count=st.integers(0, 40), seed=st.integers(0, 2**32))
def test_public_positions_are_pruned_ones_and_the_same_for_all(mask: np.ndarray, count: int, seed: int) -> None:
    one, two = (public_positions(mask, count, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(one, two)
    assert len(np.unique(one)) == len(one) == min(count, int((~mask).sum()))
    assert not mask.flatten()[one].any()
