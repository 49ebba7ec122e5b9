"""Networks that clients train, without weights: the ResNet of signs43, ResNet-18 for 32 x 32, and one of inverted residuals."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from signs43_resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

SHAPE = (3, 32, 32)


class BasicBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        same = channels_in == channels and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x_NCHW)))))
        return F.relu(y_NCHW + self.shortcut(x_NCHW))


class ResNet18(nn.Module):
    """`x_NCHW` (N, 3, 32, 32) -> logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(64)
        widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
        self.blocks = nn.Sequential(
            *(BasicBlock(before, after, 1 if before == after else 2) for before, after in pairwise(widths))
        )
        self.linear = nn.Linear(512, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.linear(self.blocks(F.relu(self.bn(self.conv(x_NCHW)))).mean((2, 3)))
        return logits_NK


class InvertedResidual(nn.Module):
    """With a gate on the hidden channels, as in what edgekit assembles."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * channels_in
        self.expand = nn.Sequential(
            nn.Conv2d(channels_in, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.Hardswish()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.Hardswish()
        )
        self.gate = nn.Sequential(nn.Conv2d(hidden, hidden // 4, 1), nn.ReLU(), nn.Conv2d(hidden // 4, hidden, 1))
        self.project = nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.same = channels_in == channels and stride == 1

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.depthwise(self.expand(x_NCHW))
        y_NCHW = self.project(y_NCHW * F.hardsigmoid(self.gate(y_NCHW.mean((2, 3), keepdim=True))))
        return x_NCHW + y_NCHW if self.same else y_NCHW


def inverted_residuals() -> nn.Module:
    blocks = [(16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1)]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        *(InvertedResidual(*block) for block in blocks),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 43),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet signs43, width 8": lambda: ResNet(8),
    "ResNet signs43, width 16": lambda: ResNet(16),
    "ResNet signs43, width 32": lambda: ResNet(32),
    "inverted residuals": inverted_residuals,
    "ResNet-18": ResNet18,
}


def network(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return NETWORKS[name]()
