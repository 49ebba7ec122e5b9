"""A small ResNet of plain 3x3 convolutions for the traffic signs of signs43, without weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

LABELS = 43
SHAPE = (3, 32, 32)


class Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x_NCHW)))))
        return F.relu(y_NCHW + self.shortcut(x_NCHW))


class ResNet(nn.Module):
    """`x_NCHW` (N, 3, 32, 32) in [0, 1] -> logits (N, 43)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            Block(width, 2 * width, 1), Block(2 * width, 4 * width, 2), Block(4 * width, 8 * width, 2)
        )
        self.linear = nn.Linear(8 * width, LABELS)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.blocks(F.relu(self.bn(self.conv(x_NCHW))))
        logits_NK: Tensor = self.linear(y_NCHW.mean((2, 3)))
        return logits_NK
