"""Runs one .tflite file on arrays: a program of its own, so that a bad file can bring down nothing else.

`runner.py` starts it. It imports nothing of edgekit: numpy and the interpreter alone start in a tenth of a second.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path


def main(model: str, folder: Path, threads: int, address_space_bytes: int, cpu_s: int) -> None:
    """Reads `inputs.npy` in `folder`; writes `outputs.npy` and `times_ms.npy`, or `refusal.txt`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    try:
        run(model, folder, threads)
    except Exception as error:
        (folder / "refusal.txt").write_text(" ".join(str(error).split())[:200] or type(error).__name__)
        sys.exit(1)


def run(model: str, folder: Path, threads: int) -> None:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=threads)
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    x = np.load(folder / "inputs.npy", allow_pickle=False)
    wanted = tuple(int(length) for length in given["shape"])
    if (1, *x.shape[1:]) != wanted:
        raise ValueError(f"takes arrays of shape {wanted}, got {(1, *x.shape[1:])}")
    if given["dtype"] not in (np.float32, np.int8, np.uint8):
        raise ValueError(f"takes {given['dtype'].__name__} arrays, which no image can be mapped to")
    if given["dtype"] != np.float32:
        scale, zero_point = given["quantization"]
        limits = np.iinfo(given["dtype"])
        x = np.clip(np.rint(x / np.float32(scale)) + zero_point, limits.min, limits.max).astype(given["dtype"])
    outputs, times_ms = [], []
    for sample in x:
        interpreter.set_tensor(given["index"], sample[None])
        start = time.perf_counter()
        interpreter.invoke()
        times_ms.append(1e3 * (time.perf_counter() - start))
        outputs.append(interpreter.get_tensor(result["index"])[0])
    y = np.stack(outputs)
    if result["dtype"] != np.float32:
        scale, zero_point = result["quantization"]
        y = (y.astype(np.float32) - zero_point) * np.float32(scale)
    np.save(folder / "outputs.npy", y.astype(np.float32), allow_pickle=False)
    np.save(folder / "times_ms.npy", np.array(times_ms), allow_pickle=False)


if __name__ == "__main__":
    model, folder, threads, address_space_bytes, cpu_s = sys.argv[1:]
    main(model, Path(folder), int(threads), int(address_space_bytes), int(cpu_s))
