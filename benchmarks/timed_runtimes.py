"""Times the files of one network side by side in this fresh process; `runtime_latency.py` runs it, once for each number of threads.

    python benchmarks/timed_runtimes.py FOLDER THREADS ROUNDS

Each round gives every runtime its turn, so that all see the same disturbances. Prints JSON: milliseconds by file and round.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUND_S = 0.05


def run_of(path: Path, x_NHWC: np.ndarray, threads: int) -> Callable[[], object]:
    from edgekit.devices.boards.programs import run_model

    if path.suffix == ".pt2":
        import torch

        torch.set_num_threads(threads)
        module = torch.export.load(path).module()
        x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous()

        def run() -> object:
            with torch.inference_mode():
                return module(x_NCHW)

        return run
    model = run_model.opened(str(path), threads)
    is_channels_last = model.shapes[0][-1] == x_NHWC.shape[-1]
    model.set(0, x_NHWC if is_channels_last else x_NHWC.transpose(0, 3, 1, 2))
    return model.run


def main(folder: Path, threads: int, rounds: int) -> None:
    # torch comes first: what opens compiled networks hides it from those who import it later.
    import torch

    torch.set_num_threads(threads)
    x_NHWC = np.load(folder / "x.npy")
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".tflite", ".onnx", ".so", ".pt2"})
    runs = {path.name: run_of(path, x_NHWC, threads) for path in paths}
    calls = {}
    for name, run in runs.items():
        for _ in range(3):
            run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, round(ROUND_S / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            times[name].append(1e3 * (time.perf_counter() - start) / calls[name])
    print(json.dumps(times))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
