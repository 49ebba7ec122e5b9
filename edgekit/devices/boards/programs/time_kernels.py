"""Tells how long each function of a compiled library takes on a board, or where instructions are counted, how many it executes.

It needs what `run_model.py`, which lies beside it, needs for compiled networks.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import run_model

_ROUNDS, _ROUND_S, _MOST_CALLS = 7, 0.002, 1000
_UNCOUNTED = 3


def calls_of(library: str, functions: list[dict[str, Any]], threads: int) -> list[Callable[[], None]]:
    """Each function with arrays of zeros for its arguments."""
    module = run_model.compiled_module(library, threads)

    def call_of(function: dict[str, Any]) -> Callable[[], None]:
        arrays = [run_model.aligned(shape, dtype) for shape, dtype in function["arguments"]]
        arguments, made = [run_model.given(array) for array in arrays], module[function["name"]]

        def call(_arrays: Any = arrays) -> None:
            made(*arguments)

        return call

    return [call_of(function) for function in functions]


def timed(calls: list[Callable[[], None]]) -> list[float]:
    """Microseconds a call, the least of several rounds; those of all functions alternate, so that all are disturbed alike."""

    def seconds(call: Callable[[], None], times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - start) / times

    for call in calls:
        call()
    times = [max(1, min(_MOST_CALLS, round(_ROUND_S / max(seconds(call, 3), 1e-9)))) for call in calls]
    rounds = [[seconds(call, often) for call, often in zip(calls, times)] for _ in range(_ROUNDS)]  # noqa: B905 (from Python 3.10)
    return [1e6 * min(of_call) for of_call in zip(*rounds)]  # noqa: B905


def counted(calls: list[Callable[[], None]]) -> list[float]:
    for call in calls:
        for _ in range(_UNCOUNTED):
            call()
    for index, call in enumerate(calls):
        run_model.mark(2 * index + 1)
        call()
        run_model.mark(2 * index + 2)
    return [float(region["total"]) for region in run_model.regions()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("functions", help="JSON: the name of each and [shape, type] of its arguments")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--count", action="store_true")
    options = parser.parse_args()
    # Whoever asked may be gone: nothing is left running on the board.
    signal.alarm(options.limit)
    functions = json.loads(Path(options.functions).read_text(encoding="utf-8"))
    calls = calls_of(options.library, functions, options.threads)
    sys.stdout.write(json.dumps({"costs": counted(calls) if options.count else timed(calls)}))


if __name__ == "__main__":
    main()
