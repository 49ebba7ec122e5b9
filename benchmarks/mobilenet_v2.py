"""MobileNetV2 (arXiv 1801.04381, table 2) with normalisation folded away and random weights, for measuring time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Expansion, channels, blocks, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
SIZE, CLASSES, FEATURES, STEM = 224, 1000, 1280, 32


class InvertedResidual(nn.Module):
    def __init__(self, given: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = given * expansion
        expand = layers(given, hidden, 1, 1) if expansion > 1 else []
        self.body = nn.Sequential(
            *expand, *layers(hidden, hidden, 3, stride, groups=hidden), nn.Conv2d(hidden, channels, 1)
        )
        self.has_shortcut = stride == 1 and given == channels

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = self.body(x_NCHW)
        return x_NCHW + y_NCHW if self.has_shortcut else y_NCHW


class MobileNetV2(nn.Module):
    """`x_NCHW` of 224 x 224 pixels -> `p_NK` of 1,000 classes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        channels, body = STEM, layers(3, STEM, 3, 2)
        for expansion, width, blocks, stride in STAGES:
            for block in range(blocks):
                body.append(InvertedResidual(channels, width, 1 if block else stride, expansion))
                channels = width
        self.body = nn.Sequential(*body, *layers(channels, FEATURES, 1, 1))
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.head(self.body(x_NCHW).mean((2, 3))).softmax(1)


def layers(given: int, channels: int, kernel: int, stride: int, *, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(given, channels, kernel, stride, kernel // 2, groups=groups), nn.ReLU6()]
