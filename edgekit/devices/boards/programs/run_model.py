"""Runs one .tflite file on a board and tells how long each run took, or where instructions are counted, how many it took.

It needs numpy and LiteRT or its forerunner; `tell_facts.py` lies beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import tell_facts

# System calls that the counting plug-in of the lab takes for the beginning (odd) and the end (even) of a region.
_MARK = 0x454B0000
_WINDOW, _SETTLED, _UNCOUNTED, _LEAST_RUNS = 5, 0.02, 10, 10
# Exit code for a file that cannot be run so, which is no fault of the board.
_UNSUITABLE = 3


def interpreter(path: str, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter
    made = Interpreter(model_path=path, num_threads=threads)
    made.allocate_tensors()
    return made


def as_given(x: Any, given: Any) -> Any:
    """float32 in what the network takes, mapped to the integers of a quantised input by its scale and zero point."""
    if given["dtype"] == np.float32:
        return x.astype(np.float32)
    scale, zero_point = given["quantization"]
    limits = np.iinfo(given["dtype"])
    return np.clip(np.round(x / scale) + zero_point, limits.min, limits.max).astype(given["dtype"])


def set_seeded(made: Any) -> None:
    """Every input to numbers in [0, 1), the same each time."""
    numbers = np.random.default_rng(0)
    for given in made.get_input_details():
        made.set_tensor(given["index"], as_given(numbers.random(given["shape"], dtype=np.float32), given))


def mark(number: int) -> None:
    with contextlib.suppress(OSError):
        os.getpgid(_MARK | number)


def timed(made: Any) -> float:
    start = time.perf_counter_ns()
    made.invoke()
    return (time.perf_counter_ns() - start) / 1e6


def warmed_up(made: Any, most: int, seconds: float) -> tuple[list[float], bool]:
    """Runs until the median of five is that of the five before, at least ten and then at most `most` and for `seconds`; their
    times, and whether it came to that."""
    ends = time.monotonic() + seconds
    times: list[float] = []
    while len(times) < 2 * _WINDOW or (len(times) < most and time.monotonic() < ends):
        times.append(timed(made))
        if len(times) >= 2 * _WINDOW:
            before = statistics.median(times[-2 * _WINDOW : -_WINDOW])
            if abs(statistics.median(times[-_WINDOW:]) / before - 1) <= _SETTLED:
                return times, True
    return times, False


def outputs_of(made: Any, path: str) -> Any:
    """Of each row of the inputs in a file. Ends the program for a network of several inputs or outputs, or of other shapes."""
    inputs, results = made.get_input_details(), made.get_output_details()
    x = np.load(path, allow_pickle=False)
    if len(inputs) != 1 or len(results) != 1 or list(x.shape[1:]) != list(inputs[0]["shape"][1:]):
        shapes = [given["shape"].tolist() for given in inputs]
        refuse(f"takes inputs of shapes {shapes} and gives {len(results)} outputs, asked for one of {list(x.shape)}")
    outputs = []
    for row in as_given(x, inputs[0]):
        made.set_tensor(inputs[0]["index"], row[None])
        made.invoke()
        outputs.append(made.get_tensor(results[0]["index"])[0])
    return np.stack(outputs)


def refuse(reason: str) -> NoReturn:
    sys.stderr.write(reason)
    raise SystemExit(_UNSUITABLE)


def counted(made: Any) -> dict[str, int]:
    """Of one run, by class, after some others: Python itself takes a few instructions more at first."""
    for _ in range(_UNCOUNTED):
        made.invoke()
    mark(1)
    made.invoke()
    mark(2)
    (told,) = Path(os.environ["EDGEKIT_COUNTS"]).read_text(encoding="utf-8").splitlines()
    counts: dict[str, int] = json.loads(told)
    return {name: count for name, count in counts.items() if name != "region"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--warm-up", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--inputs", default="")
    parser.add_argument("--outputs", default="")
    parser.add_argument("--count", action="store_true")
    options = parser.parse_args()
    # Whoever asked may be gone: nothing is left running on the board.
    signal.alarm(options.limit)
    made = interpreter(options.model, options.threads)
    if options.inputs:
        np.save(options.outputs, outputs_of(made, options.inputs), allow_pickle=False)
    set_seeded(made)
    told: dict[str, Any] = {
        "before": tell_facts.state(),
        "warm_up_ms": [],
        "times_ms": [],
        "settled": True,
        "executed": {},
    }
    if options.count:
        told["executed"] = counted(made)
    elif options.runs:
        told["warm_up_ms"], told["settled"] = warmed_up(made, options.warm_up, options.seconds / 3)
        ends = time.monotonic() + options.seconds
        while len(told["times_ms"]) < options.runs and (len(told["times_ms"]) < _LEAST_RUNS or time.monotonic() < ends):
            told["times_ms"].append(timed(made))
    told["sha256"] = hashlib.sha256(Path(options.model).read_bytes()).hexdigest()
    told["after"] = tell_facts.state()
    told["runtime"] = tell_facts.runtime()
    told["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
