"""Runs one .onnx file on arrays: the program that `runner.py` starts.

It imports nothing of edgekit: numpy and the runtime alone start in a few tenths of a second.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def run(folder: Path, model: str, threads: int) -> None:
    """Reads `inputs.npy` in `folder`; writes `outputs.npy` and `times_ms.npy` there."""
    # Else it reports to its maker.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    x = np.load(folder / "inputs.npy", allow_pickle=False)
    lengths = (1, *x.shape[1:])
    fits = len(given.shape) == len(lengths) and all(
        length == wanted for length, wanted in zip(lengths, given.shape, strict=True) if isinstance(wanted, int)
    )
    if not fits:
        raise ValueError(f"takes arrays of shape {tuple(given.shape)}, got {lengths}")
    if given.type != "tensor(float)" or result.type != "tensor(float)":
        raise ValueError(f"goes from {given.type} to {result.type}, expected tensor(float) for both")
    outputs, times_ms = [], []
    for sample in x:
        start = time.perf_counter()
        (y,) = session.run([result.name], {given.name: sample[None]})
        times_ms.append(1e3 * (time.perf_counter() - start))
        outputs.append(y[0])
    np.save(folder / "outputs.npy", np.stack(outputs), allow_pickle=False)
    np.save(folder / "times_ms.npy", np.array(times_ms), allow_pickle=False)


if __name__ == "__main__":
    folder, model, threads = sys.argv[1:]
    run(Path(folder), model, int(threads))
