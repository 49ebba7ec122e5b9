"""Counts of answers, and what they say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix

from edgekit.core.confusion import Confusion

LABELS = ("a", "b", "c", "d")
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(PAIRS)
def test_it_counts_as_scikit_learn_does(pairs: list[tuple[int, int]]) -> None:
    y_N, answers_N = np.array(pairs).T
    confusion = Confusion.of(y_N, answers_N, LABELS)
    assert np.array_equal(confusion.counts, confusion_matrix(y_N, answers_N, labels=range(4)))
    assert np.isclose(confusion.accuracy, accuracy_score(y_N, answers_N))
    low, high = confusion.interval
    assert 0 <= low <= confusion.accuracy <= high <= 1
