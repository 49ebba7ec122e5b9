"""A network that was converted is not converted again; one that differs in anything is."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from edgekit.core.model import Model
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import convert_fp32


class Scaled(nn.Module):
    """Its factor is neither parameter nor buffer."""

    def __init__(self, factor: float, *, seed: int = 0) -> None:
        super().__init__()
        self.factor = factor
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.rand(parameter.shape, generator=generator))

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        y_NC: torch.Tensor = self.factor * self.convolution(x_NCHW).mean((2, 3))
        return y_NC


def model_of(module: nn.Module, *, size: int = 8) -> Model:
    return Model(
        module=module.eval(),
        input_shape=(3, size, size),
        labels=(),
        preprocessing=None,
        operators=(),
        provenance={"genotype": "ff"},
    )


def test_only_the_same_network_is_shared(tmp_path):
    started = time.perf_counter()
    first = convert_fp32(model_of(Scaled(1.0)))
    taken_s = time.perf_counter() - started
    started = time.perf_counter()
    assert convert_fp32(model_of(Scaled(1.0))) == first
    assert time.perf_counter() - started < taken_s / 3
    rng = np.random.default_rng(0)
    for module, size in ((Scaled(2.0), 8), (Scaled(1.0, seed=1), 8), (Scaled(1.0), 16)):
        path = tmp_path / "model.tflite"
        path.write_bytes(convert_fp32(model_of(module, size=size)))
        x_NHWC = rng.random((1, size, size, 3), np.float32)
        y_NC = module(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2)).detach().numpy()
        np.testing.assert_allclose(run_in_subprocess(path, x_NHWC).outputs, y_NC, rtol=1e-4)
