"""A small classifier of handwritten digits whose last layer is solved for, so that it needs no training."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, fx, nn

from edgekit.core.model import Model
from edgekit.networks.description import describe
from edgekit.passes.contract import Samples

LABELS = tuple(map(str, range(10)))


class Digits(nn.Module):
    """Normalisation, a residual sum, a depthwise convolution, and a pooling between a quantiser and what reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pool = nn.MaxPool2d(2)
        self.wide = nn.Conv2d(16, 48, 3)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.head = nn.Linear(192, 10)

    def features(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.relu(self.norm(self.stem(x_NCHW)))
        y_NCHW = self.pool(y_NCHW + self.depthwise(y_NCHW))
        flat_ND: Tensor = self.flatten(self.relu(self.wide(y_NCHW)))
        return flat_ND

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.head(self.features(x_NCHW))
        return logits_NK


@cache
def digits() -> tuple[Samples, Samples]:
    """To learn from and calibrate on, and to judge by."""
    x, y = load_digits(return_X_y=True)
    x_NCHW, y_N = torch.from_numpy(x.reshape(-1, 1, 8, 8).astype(np.float32) / 16), torch.from_numpy(y)
    return Samples(x_N=x_NCHW[:1200], y_N=y_N[:1200]), Samples(x_N=x_NCHW[1200:], y_N=y_N[1200:])


@cache
def digits_model() -> Model:
    """Do not change it."""
    torch.manual_seed(0)
    network, (learnt, _) = Digits(), digits()
    assert learnt.y_N is not None
    with torch.no_grad():
        network.norm.weight.uniform_(0.5, 1.5)
        network.norm.bias.normal_(0, 0.2)
        network(learnt.x_N)
        network.eval()
        features_ND = network.features(learnt.x_N)
        wide_ND = torch.cat([features_ND, torch.ones(len(features_ND), 1)], 1).double()
        targets_NK = nn.functional.one_hot(learnt.y_N, 10).double() * 20 - 10
        gram_DD = wide_ND.T @ wide_ND + 1e-2 * torch.eye(wide_ND.shape[1])
        solved_DK = torch.linalg.solve(gram_DD, wide_ND.T @ targets_NK).float()
        network.head.weight.copy_(solved_DK[:-1].T)
        network.head.bias.copy_(solved_DK[-1])
    return model_of(network, (1, 8, 8), LABELS)


def model_of(network: nn.Module, input_shape: tuple[int, ...], labels: tuple[str, ...] = ()) -> Model:
    module = fx.symbolic_trace(network.eval())
    return Model(
        module=module,
        input_shape=input_shape,
        labels=labels,
        preprocessing=None,
        operators=describe(module, input_shape).operators,
        output_range=None,
        provenance={"origin": "tests"},
    )
