"""Networks that have the first filters of one another, exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from exported_networks import describe
from torch import nn

from edgekit.core.model import Model, Preprocessing
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.tflite import export

WIDEST = 12


@dataclass(frozen=True, kw_only=True)
class Network:
    model: Model
    int8: Artifact
    fp32: Artifact
    x_NHWC: npt.NDArray[np.float32]


class Narrowed(nn.Module):
    """The first `filters` of `WIDEST` random filters, between layers that are always the same."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.first = nn.Conv2d(16, filters, 3, 1, 1)
        self.depthwise = nn.Conv2d(filters, filters, 3, 2, 1, groups=filters)
        self.project = nn.Conv2d(filters, 24, 1)
        self.head = nn.Linear(24, 6)
        for layer in (self.stem, self.first, self.depthwise, self.project, self.head):
            rows = WIDEST if layer in (self.first, self.depthwise) else len(layer.weight)
            columns = WIDEST if layer is self.project else layer.weight.shape[1]
            w = torch.randn(rows, columns, *layer.weight.shape[2:], generator=generator)
            b = torch.randn(rows, generator=generator)
            with torch.no_grad():
                layer.weight.copy_(w[: len(layer.weight), : layer.weight.shape[1]] / layer.weight[0].numel() ** 0.5)
                layer.bias.copy_(b[: len(layer.bias)] / 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(torch.relu(self.stem(x))))
        y = self.project(torch.relu(self.depthwise(y)))
        return torch.softmax(4 * self.head(y.mean((2, 3))), -1)


def narrowed(filters: int, size: int, folder: Path) -> Network:
    """For pictures of `size` x `size`, calibrated with noise."""
    module = Narrowed(filters).eval()
    model = Model(
        module=module,
        input_shape=(3, size, size),
        labels=("left turn", "stop", "bicycles crossing", "ice", "keep right", "yield"),
        preprocessing=Preprocessing(height=size, width=size),
        operators=describe(module, size),
        provenance={"genotype": f"{filters}@{size}"},
    )
    rng = np.random.default_rng(size)
    colours, noise = rng.random((40, 1, 1, 3), np.float32), rng.random((40, size, size, 3), np.float32)
    x_NHWC = (3 * colours + noise) / 4
    int8 = export(model, precision=Precision.INT8, calibration_N=x_NHWC, folder=folder)
    assert int8.reference is not None
    return Network(model=model, int8=int8, fp32=int8.reference, x_NHWC=x_NHWC)
