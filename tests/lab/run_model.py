"""Runs a .tflite on the machine that this is: `run_model.py MODEL TIMES`. Each run is a region of the instruction counter."""

import hashlib
import json
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MARK = 0x454B0000


def mark(number: int) -> None:
    with suppress(OSError):  # there is no such process
        os.getpgid(MARK | number)


model, times = sys.argv[1:]
interpreter = Interpreter(model_path=model, num_threads=1)
interpreter.allocate_tensors()
(taken,) = interpreter.get_input_details()
rng = np.random.default_rng(0)
if taken["dtype"] == np.float32:
    x = rng.random(taken["shape"], dtype=np.float32)
else:
    x = rng.integers(-128, 128, taken["shape"], dtype=np.int8)
interpreter.set_tensor(taken["index"], x)
interpreter.invoke()
for run in range(int(times)):
    mark(2 * run + 1)
    interpreter.invoke()
    mark(2 * run + 2)
(given,) = interpreter.get_output_details()
y = interpreter.get_tensor(given["index"])
counts = Path(os.environ.get("EDGEKIT_COUNTS", os.devnull))
record = {
    "machine": platform.machine(),
    "output": y.ravel().tolist(),
    "sha256": hashlib.sha256(y.tobytes()).hexdigest(),
    "counts": [json.loads(line) for line in counts.read_text().splitlines()],
}
sys.stdout.write(json.dumps(record))
