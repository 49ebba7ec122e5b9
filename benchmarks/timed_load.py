"""One .tflite file in this fresh process, from its name to the first answer; `variants.py` runs it.

    python benchmarks/timed_load.py MODEL [SIGNATURE]

Prints JSON: milliseconds until the first answer, and the bytes of memory that the process grew by.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def main(model: str, signature: str | None = None) -> None:
    before_bytes, started = resident_bytes(), time.perf_counter()
    interpreter = Interpreter(model_path=model, num_threads=1)
    network = interpreter.get_signature_runner(signature)  # None: the only one
    ((name, details),) = network.get_input_details().items()
    network(**{name: np.zeros(details["shape"], details["dtype"])})
    elapsed = time.perf_counter() - started
    record = {"answer_ms": 1e3 * elapsed, "memory_bytes": resident_bytes() - before_bytes}
    print(json.dumps(record))


if __name__ == "__main__":
    main(*sys.argv[1:])
