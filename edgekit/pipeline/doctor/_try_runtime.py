"""Exports a network of two layers in int8 for a device and runs it: `python -P _try_runtime.py RUNTIME DEVICE`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main(runtime: str, device: str) -> str:
    import torch
    from torch import nn

    from edgekit.core.model import Model
    from edgekit.devices.target import parse_target
    from edgekit.exporters.exporter import exporter_for

    torch.manual_seed(0)
    exporter = exporter_for(runtime)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 4)).eval()
    model = Model(
        module=module, input_shape=(3, 16, 16), labels=(), preprocessing=None, operators=(), output_range=None
    )
    x_NHWC = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
    target = parse_target(f"{device}:{runtime}-int8")
    exporter.check_installed(target)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgekit-doctor-") as folder:
        artifact = exporter.export(model, target=target, calibration_N=x_NHWC, folder=Path(folder))
        outputs = exporter.run(artifact.path, x_NHWC).outputs
    with torch.no_grad():
        expected = module(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2)).numpy()
    error = float(np.abs(outputs - expected).max() / np.abs(expected).max())
    if error > 0.1:
        raise ValueError(f"its outputs are {error:.0%} off")
    return f"exported and ran a network of two layers in int8, {time.monotonic() - started:.1f} s"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))  # noqa: T201
