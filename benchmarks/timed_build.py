"""One build in this fresh process, with the time that libraries take in it; `build_time.py` runs it.

    python benchmarks/timed_build.py MODEL FOLDER

Prints JSON, seconds by stage: all, and those of libraries, which are the imports of numpy and torch, conversion by
litert-torch, quantisation by ai-edge-quantizer (their imports included), and the runs of the TFLite interpreter.
"""

from __future__ import annotations

import json
import subprocess
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


class Clock:
    """Adds up seconds under the stage that the build is in: all of them, and those that libraries take."""

    def __init__(self) -> None:
        self.stage, self.entered = "start", time.perf_counter()
        self.total: dict[str, float] = defaultdict(float)
        self.libraries: dict[str, float] = defaultdict(float)

    def enter(self, stage: str) -> None:
        now = time.perf_counter()
        self.total[self.stage] += now - self.entered
        self.stage, self.entered = stage, now

    @contextmanager
    def library(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.libraries[self.stage] += time.perf_counter() - started

    def timed(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.library():
                return function(*args, **kwargs)

        return called


def main(model: str, folder: Path) -> None:
    clock = Clock()
    for stage, library in (("start", "numpy"), ("load", "torch"), ("load", "safetensors.torch")):
        clock.enter(stage)
        with clock.library():
            import_module(library)

    clock.enter("start")
    from edgekit.core.budget import Budget
    from edgekit.exporters import tflite
    from edgekit.pipeline.build import build

    tflite.convert_fp32 = clock.timed(tflite.convert_fp32)
    tflite.quantize_int8 = clock.timed(tflite.quantize_int8)
    subprocess.run = clock.timed(subprocess.run)
    build(task=TASK, budget=Budget(latency_ms=LATENCY_MS), model=model, output=folder, progress=clock.enter)
    clock.enter("end")
    print(json.dumps({"total": clock.total, "libraries": clock.libraries}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
