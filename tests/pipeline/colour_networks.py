"""A network from elsewhere that takes pictures and gives scores."""

from __future__ import annotations

import torch
from torch import nn


def of_three_colours() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
