"""Runs one foreign .onnx file by ONNX Runtime: the program that `foreign.py` starts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime


def run(folder: Path, path: Path) -> None:
    """Writes `outputs.npy` for `inputs.npy` into `folder`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (outputs,) = session.run(None, {given.name: np.load(folder / "inputs.npy", allow_pickle=False)})
    np.save(folder / "outputs.npy", outputs, allow_pickle=False)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
