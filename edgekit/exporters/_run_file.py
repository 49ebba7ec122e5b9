"""Runs one .tflite file on arrays: the program that `runner.py` starts.

It imports nothing of edgekit: numpy and the interpreter alone start in a tenth of a second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run(folder: Path, model: str, threads: int, signature: str | None = None) -> None:
    """Reads `inputs.npy` in `folder`; writes `outputs.npy` and `times_ms.npy` there."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=threads)
    given, result, infer = network_of(interpreter, signature)
    x = np.load(folder / "inputs.npy", allow_pickle=False)
    wanted = tuple(int(length) for length in given["shape"])
    if (1, *x.shape[1:]) != wanted:
        raise ValueError(f"takes arrays of shape {wanted}, got {(1, *x.shape[1:])}")
    if given["dtype"] not in (np.float32, np.int8, np.uint8):
        raise ValueError(f"takes {given['dtype'].__name__} arrays, a type that inputs cannot be converted to")
    if given["dtype"] != np.float32:
        scale, zero_point = given["quantization"]
        limits = np.iinfo(given["dtype"])
        x = np.clip(np.rint(x / np.float32(scale)) + zero_point, limits.min, limits.max).astype(given["dtype"])
    outputs, times_ms = [], []
    for sample in x:
        start = time.perf_counter()
        y = infer(sample[None])
        times_ms.append(1e3 * (time.perf_counter() - start))
        outputs.append(y[0])
    y = np.stack(outputs)
    if result["dtype"] != np.float32:
        scale, zero_point = result["quantization"]
        y = (y.astype(np.float32) - zero_point) * np.float32(scale)
    np.save(folder / "outputs.npy", y.astype(np.float32), allow_pickle=False)
    np.save(folder / "times_ms.npy", np.array(times_ms), allow_pickle=False)


def network_of(interpreter: Any, signature: str | None) -> tuple[Any, Any, Callable[[Any], Any]]:
    """The details of its input and of its output, and the function from one to the other."""
    if signature is not None:
        runner = interpreter.get_signature_runner(signature)
        ((name, given),) = runner.get_input_details().items()
        ((answer, result),) = runner.get_output_details().items()
        return given, result, lambda x: runner(**{name: x})[answer]
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()

    def infer(x: Any) -> Any:
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return given, result, infer


if __name__ == "__main__":
    folder, model, threads, *signature = sys.argv[1:]
    run(Path(folder), model, int(threads), *signature)
