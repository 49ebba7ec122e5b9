"""Which measurements are trusted, and what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UnstableError
from edgekit.core.quantity import Evidence
from edgekit.devices.boards.facts import BoardState
from edgekit.devices.boards.measurement import BoardRun, Latencies, check_stable
from edgekit.devices.device import Protocol

STATE = BoardState(
    governors=("performance",) * 4, clocks_mhz=(1500.0,) * 4, temperature_c=50.0, throttled=0x50000, load=0.1
)
RUN = BoardRun(
    latencies=Latencies.of(np.linspace(10.0, 10.5, 50).tolist()),
    warm_up_runs=12,
    settled=True,
    executed={},
    before=STATE,
    after=STATE,
    protocol=Protocol(),
    runtime="ai-edge-litert 2.3.0",
    sha256="",
    peak_rss_bytes=1 << 20,
)


def test_a_quiet_run_is_trusted_though_the_board_throttled_once_since_it_was_switched_on() -> None:
    check_stable(RUN, "pi")
    latency = RUN.latency("pi")
    assert latency.evidence is Evidence.MEASURED
    assert latency.value == pytest.approx(10.25)
    assert latency.interval == (10.0, pytest.approx(10.45))
    for words in ("on pi", "2.3.0", "4 threads", "50 runs", "p90", "governor performance", "1500", "50 degrees"):
        assert words in latency.source


@pytest.mark.parametrize(
    ("run", "reason", "advice"),
    [
        (replace(RUN, after=replace(STATE, throttled=0x4)), "throttled after the runs", "cool"),
        (replace(RUN, before=replace(STATE, throttled=0x50005)), "throttled before the runs", "supply"),
        (
            replace(RUN, after=replace(STATE, clocks_mhz=(1500.0, 1500.0, 1500.0, 1000.0))),
            "clock changed by 33%",
            "cool",
        ),
        (replace(RUN, settled=False), "were not enough for steady times", "governor"),
        (replace(RUN, latencies=Latencies.of([10.0] * 40 + [20.0] * 10)), "2.00 times the median", "governor"),
        (replace(RUN, latencies=None), "no run was timed", "again"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_its_reason_and_advice(run: BoardRun, reason: str, advice: str) -> None:
    with pytest.raises(UnstableError, match=reason) as raised:
        check_stable(run, "pi")
    assert advice in raised.value.hint


def test_clocks_that_follow_the_load_are_not_a_fault_of_their_own() -> None:
    """The governor ondemand lets them rise: whether the times are steady is what counts."""
    low = replace(STATE, governors=("ondemand",) * 4, clocks_mhz=(600.0,) * 4)
    run = replace(RUN, before=low, after=replace(low, clocks_mhz=(1500.0,) * 4))
    check_stable(run, "pi")
    assert "governor ondemand instead of performance" in run.latency("pi").source


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=100))
def test_the_latency_lies_in_its_interval_and_trusted_runs_are_steady(times_ms: list[float]) -> None:
    run = replace(RUN, latencies=Latencies.of(times_ms))
    latency = run.latency("pi")
    assert latency.interval is not None
    assert min(times_ms) == latency.interval[0] <= latency.value <= latency.interval[1] <= max(times_ms) * (1 + 1e-12)
    try:
        check_stable(run, "pi")
    except UnstableError:
        assert np.percentile(times_ms, 90) > 1.2 * np.median(times_ms)


def test_counts_are_emulated_and_never_times() -> None:
    counted = replace(RUN, executed={"total": 100, "branch": 7}).instructions("lab")
    assert counted["total"].value == 100
    assert {quantity.evidence for quantity in counted.values()} == {Evidence.EMULATED}
    assert {quantity.unit for quantity in counted.values()} == {"instructions"}
