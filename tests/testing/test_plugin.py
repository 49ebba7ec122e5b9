"""Users' hardware tests, run as they run them: in a pytest of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from chain_files import write_chain

TEST = """
import numpy as np
import pytest
from edgekit.testing.board_under_test import assert_size

def test_latency(board):
    board.assert_latency("net.tflite", at_most_ms=1000)

def test_size():
    assert_size("net.tflite", at_most_bytes=100_000)
    with pytest.raises(AssertionError, match="at most 10"):
        assert_size("net.tflite", at_most_bytes=10)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(pytester.path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    write_chain(Path(pytester.path) / "net.tflite", size=16, channels=(3, 8, 8))
    pytester.makepyfile(test_hardware=TEST)
    return pytester


def test_without_a_board_hardware_tests_are_skipped_with_the_reason(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*no board: name one with --edgekit-board*"])


def test_an_unknown_board_is_an_error_that_names_the_known_ones(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("--edgekit-board", "pj")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(['*no board is called "pj"*'])


def test_options_are_explained(project: pytest.Pytester) -> None:
    project.runpytest_subprocess("--help").stdout.fnmatch_lines(["*--edgekit-board=NAME*"])


def test_a_build_is_made_once_for_the_same_arguments(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_build="""
        from edgekit import Budget

        def test_one(build):
            asked = dict(task="stop, yield", target="rpi4:tflite-fp32", budget=Budget(macs=2_000_000))
            made = build(**asked)
            assert (made.folder / "model.tflite").is_file()
            assert build(**asked) is made
        """
    )
    project.runpytest_subprocess("test_build.py").assert_outcomes(passed=1)
