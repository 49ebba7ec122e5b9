"""Runs one compiled network on arrays: the program that `runner.py` starts.

A .so is native code: opening it already runs it, as code of the user's own. Nothing but time and memory is limited, so only files
that edgekit compiled are run. TVM's runtime is opened as on a board, without the compiler.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def run(folder: Path, library: str, threads: int) -> None:
    """Reads `inputs.npy` in `folder`; writes `outputs.npy` and `times_ms.npy` there."""
    import numpy as np

    from edgekit.devices.boards.programs.run_model import TvmModel

    model = TvmModel(library, threads)
    x = np.load(folder / "inputs.npy", allow_pickle=False)
    lengths, (wanted,) = [1, *x.shape[1:]], model.shapes
    if lengths != wanted:
        raise ValueError(f"takes arrays of shape {tuple(wanted)}, got {tuple(lengths)}")
    outputs, times_ms = [], []
    for sample in x:
        model.set(0, sample[None])
        start = time.perf_counter()
        model.run()
        times_ms.append(1e3 * (time.perf_counter() - start))
        outputs.append(np.array(model.output()[0]))
    np.save(folder / "outputs.npy", np.stack(outputs), allow_pickle=False)
    np.save(folder / "times_ms.npy", np.array(times_ms), allow_pickle=False)


if __name__ == "__main__":
    folder, library, threads = sys.argv[1:]
    run(Path(folder), library, int(threads))
