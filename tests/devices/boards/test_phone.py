"""What TFLite's own program prints, read; the sample is written in its form, not taken from a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import BoardError
from edgekit.devices.boards.phone import read_benchmark

SAMPLE = Path(__file__).with_name("benchmark_model.txt").read_text()
OLDER = """Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930
Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450
"""


def test_medians_of_warming_up_and_of_the_runs_are_read_in_milliseconds() -> None:
    warm_up_runs, warm_up_ms, latencies = read_benchmark(SAMPLE)
    assert (warm_up_runs, warm_up_ms) == (61, 8.179)
    assert (latencies.runs, latencies.least_ms, latencies.median_ms) == (123, 8.066, 8.163)
    assert (latencies.high_ms, latencies.high_percent) == (8.29, 95)


def test_large_numbers_in_exponents_are_read() -> None:
    line = "INFO: count=50 first=1249964 min=1.23859e+06 max=1252566 p5=1238753 median=1.2398e+06 p95=1247415"
    _, _, latencies = read_benchmark(f"{line}\n{line}")
    assert latencies.median_ms == pytest.approx(1239.8)


@pytest.mark.parametrize("text", ["", OLDER, "Failed to load model", SAMPLE.partition("INFO: Running")[0]])
def test_a_program_that_prints_no_medians_is_refused(text: str) -> None:
    with pytest.raises(BoardError, match="no medians") as raised:
        read_benchmark(text)
    assert "newer" in raised.value.hint
