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
from typing import Any

import numpy as np
import tell_facts

# System calls that the counting plug-in of the lab takes for the beginning (odd) and the end (even) of a region.
_MARK = 0x454B0000
_WINDOW, _SETTLED, _UNCOUNTED = 5, 0.02, 10


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


def inputs_of(given: Any, path: str) -> Any:
    """Rows of the file, or one seeded input in [0, 1)."""
    if path:
        return as_given(np.load(path, allow_pickle=False), given)
    return as_given(np.random.default_rng(0).random([1, *given["shape"][1:]], dtype=np.float32), given)


def mark(number: int) -> None:
    with contextlib.suppress(OSError):
        os.getpgid(_MARK | number)


def timed(made: Any) -> float:
    start = time.perf_counter_ns()
    made.invoke()
    return (time.perf_counter_ns() - start) / 1e6


def warmed_up(made: Any, most: int, seconds: float) -> tuple[list[float], bool]:
    """Runs until the median of five is that of the five before; their times, and whether it came to that."""
    ends = time.monotonic() + seconds
    times: list[float] = []
    while len(times) < most and time.monotonic() < ends:
        times.append(timed(made))
        if len(times) >= 2 * _WINDOW:
            before = statistics.median(times[-2 * _WINDOW : -_WINDOW])
            if abs(statistics.median(times[-_WINDOW:]) / before - 1) <= _SETTLED:
                return times, True
    return times, False


def outputs_of(made: Any, given: Any, result: Any, x: Any) -> Any:
    outputs = []
    for row in x:
        made.set_tensor(given["index"], row[None])
        made.invoke()
        outputs.append(made.get_tensor(result["index"])[0])
    return np.stack(outputs)


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
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=0)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--inputs", default="")
    parser.add_argument("--outputs", default="")
    parser.add_argument("--count", action="store_true")
    options = parser.parse_args()
    # Whoever asked may be gone: nothing is left running on the board.
    signal.alarm(int(2 * options.seconds) + 30)
    made = interpreter(options.model, options.threads)
    (given,), (result,) = made.get_input_details(), made.get_output_details()
    x = inputs_of(given, options.inputs)
    if list(x.shape[1:]) != list(given["shape"][1:]):
        raise SystemExit("takes inputs of shape {}, got {}".format(list(given["shape"]), list(x.shape)))
    y = outputs_of(made, given, result, x)
    if options.outputs:
        np.save(options.outputs, y, allow_pickle=False)
    told: dict[str, Any] = {
        "before": tell_facts.state(),
        "warm_up_ms": [],
        "times_ms": [],
        "settled": True,
        "executed": {},
    }
    if options.count:
        told["executed"] = counted(made)
    else:
        told["warm_up_ms"], told["settled"] = warmed_up(made, options.warm_up, options.seconds / 3)
        ends = time.monotonic() + options.seconds
        while len(told["times_ms"]) < options.runs and time.monotonic() < ends:
            told["times_ms"].append(timed(made))
    told["sha256"] = hashlib.sha256(Path(options.model).read_bytes()).hexdigest()
    told["after"] = tell_facts.state()
    told["runtime"] = tell_facts.runtime()
    told["outputs_sha256"] = hashlib.sha256(np.ascontiguousarray(y).tobytes()).hexdigest()
    told["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
