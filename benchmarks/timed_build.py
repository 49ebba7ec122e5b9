"""One build in this fresh process, with the time that libraries take in it; `build_time.py` runs it.

    python benchmarks/timed_build.py MODEL FOLDER

Prints JSON, seconds by stage: imports of numpy and torch, conversion by litert-torch, quantisation by
ai-edge-quantizer (their imports included), and the runs of the TFLite interpreter.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import ParamSpec, TypeVar

TASK, LATENCY_MS = "stop, yield, no entry", 1.0

P = ParamSpec("P")
R = TypeVar("R")


class LibraryClock:
    """Adds up seconds under the stage that the build is in."""

    def __init__(self) -> None:
        self.stage = "start"
        self.seconds: dict[str, float] = defaultdict(float)

    def enter(self, stage: str) -> None:
        self.stage = stage

    @contextmanager
    def running(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[self.stage] += time.perf_counter() - started

    def timed(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.running():
                return function(*args, **kwargs)

        return called


def main(model: str, folder: Path) -> None:
    clock = LibraryClock()
    for stage, library in (("start", "numpy"), ("load", "torch"), ("load", "safetensors.torch")):
        clock.enter(stage)
        with clock.running():
            import_module(library)

    from edgekit.core.budget import Budget
    from edgekit.exporters import runner, tflite
    from edgekit.pipeline.build import build

    tflite.convert_fp32 = clock.timed(tflite.convert_fp32)
    tflite.quantize_int8 = clock.timed(tflite.quantize_int8)
    runner.subprocess.run = clock.timed(runner.subprocess.run)
    build(task=TASK, budget=Budget(latency_ms=LATENCY_MS), model=model, output=folder, progress=clock.enter)
    print(json.dumps(clock.seconds))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
