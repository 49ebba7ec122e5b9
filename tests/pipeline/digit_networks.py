"""Small networks of an engineer's own, for 8 x 8 digits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class DigitNet(nn.Module):
    """`x_NCHW` (N, 3, 8, 8) -> logits (N, 10)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(2 * width)
        self.third = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.third_norm = nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = F.relu(self.first_norm(self.first(x_NCHW)))
        x_NCHW = F.relu(self.second_norm(self.second(x_NCHW)))
        x_NCHW = F.relu(self.third_norm(self.third(x_NCHW)))
        logits_NK: Tensor = self.head(x_NCHW.mean((2, 3)))
        return logits_NK


class Regressor(nn.Module):
    """`x` (N, 6) -> (N, 1): no classifier, no picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def digit_net() -> nn.Module:
    torch.manual_seed(0)
    return DigitNet()


def regressor() -> nn.Module:
    torch.manual_seed(0)
    return Regressor()
