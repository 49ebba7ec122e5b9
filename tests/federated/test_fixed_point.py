"""Weighted means through integers modulo 2^32."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import BadInputError, UsageError
from edgekit.federated.fixed_point import FixedPoint


@given(
    samples=st.lists(st.integers(1, 1_000), min_size=1, max_size=50),
    largest=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**32),
)
def test_the_mean_is_weighted_by_samples_to_the_resolution(samples: list[int], largest: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    fixed = FixedPoint(largest=largest, clients=len(samples), most_samples=1_000)
    vectors = [generator.uniform(-largest, largest, 20).astype(np.float32) for _ in samples]
    vectors[0][:2] = largest, -largest
    total_P = np.zeros(21, np.uint32)
    for vector_P, number in zip(vectors, samples, strict=True):
        total_P += fixed.encoded(vector_P, number, generator.bytes)
    mean_P, counted = fixed.decoded_mean(total_P)
    assert counted == sum(samples)
    step = largest / fixed.levels * len(samples) * 1_000 / sum(samples)
    expected_P = np.average(np.array(vectors, np.float64), axis=0, weights=samples)
    assert np.allclose(mean_P, expected_P, rtol=1e-6, atol=step + 1e-6 * largest)


def test_rounding_has_no_bias() -> None:
    fixed = FixedPoint(largest=1, clients=2**28)
    generator = np.random.default_rng(0)
    value = np.full(40_000, 0.3 / fixed.levels, np.float32)
    assert fixed.levels == 7
    assert fixed.encoded(value, 1, generator.bytes)[:-1].mean() == pytest.approx(0.3, abs=0.01)


def test_what_is_out_of_range_is_cut() -> None:
    fixed = FixedPoint(largest=1, clients=10, most_samples=5)
    mean_P, samples = fixed.decoded_mean(
        fixed.encoded(np.array([7, -7], np.float32), 1_000, np.random.default_rng(0).bytes)
    )
    assert samples == 5
    assert mean_P.tolist() == pytest.approx([1, -1])


def test_what_is_not_finite_or_of_nobody_is_refused() -> None:
    fixed = FixedPoint(largest=1, clients=10)
    with pytest.raises(BadInputError, match="not finite"):
        fixed.encoded(np.array([math.nan], np.float32), 1, np.random.default_rng(0).bytes)
    with pytest.raises(BadInputError, match="no samples"):
        fixed.decoded_mean(np.zeros(3, np.uint32))


@pytest.mark.parametrize(
    "wrong",
    [{"largest": 0.0}, {"largest": math.inf}, {"clients": 0}, {"most_samples": 0}, {"most_samples": 2**30}],
)
def test_sums_beyond_the_ring_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        FixedPoint(**{"largest": 1.0, "clients": 10, "most_samples": 1, **wrong})  # type: ignore[arg-type]
