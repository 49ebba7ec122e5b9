from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.fidelity import reproduced, signal_to_noise_db
from edgekit.passes.judgement import Measure, judge, points_lost


def outputs(samples: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(samples, *shape)).astype(np.float32)


def test_labels_decide_where_they_are_known() -> None:
    reference_NK, y_N = outputs(200, 5), np.arange(200) % 5
    right_NK = np.eye(5, dtype=np.float32)[y_N]
    right_NK[:20] = np.roll(right_NK[:20], 1, axis=1)
    judged = judge(right_NK, reference_NK, y_N)
    assert (judged.measure, judged.value, judged.samples) == (Measure.ACCURACY, 0.9, 200)
    assert judged.interval == pytest.approx((0.8506, 0.9343), abs=1e-3)  # Wilson's, from tables


def test_without_labels_the_original_is_the_authority() -> None:
    reference_NK = outputs(100, 3)
    changed_NK = reference_NK.copy()
    changed_NK[:25] = -reference_NK[:25]
    judged = judge(changed_NK, reference_NK)
    assert judged.measure is Measure.AGREEMENT
    assert judged.value == 0.75
    assert points_lost(judged, judge(reference_NK, reference_NK)) == pytest.approx(25)


@pytest.mark.parametrize("shape", [(1,), (), (4, 6, 6)])
def test_other_outputs_are_judged_by_the_variance_that_they_reproduce(shape: tuple[int, ...]) -> None:
    reference_N = outputs(400, *shape)
    noisy_N = reference_N + 0.1 * outputs(400, *shape, seed=1)
    judged = judge(noisy_N, reference_N, np.zeros(400, np.int64))
    assert judged.measure is Measure.REPRODUCED
    assert judged.value == pytest.approx(0.99, abs=0.003)
    assert judged.interval[0] < judged.value < judged.interval[1]
    assert judge(reference_N, reference_N).value == 1


def test_the_interval_of_reproduced_variance_covers_what_many_more_samples_say() -> None:
    reference_N, noise_N = outputs(20_000, 1), outputs(20_000, 1, seed=1)
    noise_N *= np.abs(reference_N)  # unequal from sample to sample
    truth = reproduced(reference_N + 0.3 * noise_N, reference_N)
    covered = 0
    for first in range(0, 20_000, 100):
        part = slice(first, first + 100)
        low, high = judge((reference_N + 0.3 * noise_N)[part], reference_N[part]).interval
        covered += low <= truth <= high
    assert covered / 200 > 0.85


@given(scale=st.floats(1e-3, 1e3), offset=st.floats(-100, 100))
def test_reproduced_variance_knows_no_units(scale: float, offset: float) -> None:
    reference_N, noisy_N = outputs(50, 1), outputs(50, 1) + 0.2 * outputs(50, 1, seed=1)
    expected = reproduced(noisy_N, reference_N)
    moved = [(scale * (one.astype(np.float64) + offset)) for one in (noisy_N, reference_N)]
    assert reproduced(*moved) == pytest.approx(expected, abs=1e-6)


def test_the_mean_alone_reproduces_nothing_and_a_constant_is_judged_by_its_power() -> None:
    reference_N = outputs(100, 2, 2)
    assert reproduced(np.broadcast_to(reference_N.mean(0), reference_N.shape), reference_N) == pytest.approx(
        0, abs=1e-6
    )
    constant_N = np.full((10, 1), 3, np.float32)
    assert reproduced(constant_N, constant_N) == 1
    assert reproduced(0.9 * constant_N, constant_N) == pytest.approx(0.99)


def test_signal_to_noise_in_decibels() -> None:
    reference_N = outputs(50, 3)
    assert signal_to_noise_db(1.1 * reference_N, reference_N) == pytest.approx(20, abs=1e-3)
    assert signal_to_noise_db(reference_N, reference_N) == float("inf")
