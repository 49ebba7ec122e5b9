"""The spread that relatives ship with is the one that boards left out show."""

from __future__ import annotations

import math

import boards_left_out
import pytest
import relatives
from harness import LATENCIES

from edgekit.devices.precision import Precision
from edgekit.devices.relatives import SPREAD, Basis


def left_out(board: str, *errors: float) -> boards_left_out.LeftOut:
    return boards_left_out.LeftOut(
        basis=Basis.SAME_CORES,
        board=board,
        other="another",
        runtime="ncnn",
        precision=Precision.FP32,
        log_errors=errors,
    )


def test_each_board_counts_alike_however_often_it_was_measured() -> None:
    found = [left_out("often", *[0.1] * 1000), *(left_out(f"board {n}", -1.0) for n in range(11))]
    assert relatives.spread(found) == 1.0


def test_of_few_boards_the_worst_counts() -> None:
    assert relatives.spread([left_out("good", 0.1, 0.1), left_out("bad", -2.0, -2.0)]) == pytest.approx(2.0)


@pytest.mark.skipif(not LATENCIES.exists(), reason="the measured latencies are not here")
def test_no_spread_is_less_than_boards_left_out_show() -> None:
    found = boards_left_out.all_left_out()
    for basis, shipped in SPREAD.items():
        measured = math.exp(relatives.spread(one for one in found if one.basis is basis))
        assert measured <= shipped <= 1.1 * measured
