"""ResNet-20 for CIFAR-10 with published weights, and the 4,000 images it is judged on here.

The network is that of He et al. (arXiv 1512.03385, section 4.2) with shortcuts of option A; its weights come from
akamaster/pytorch_resnet_cifar10. The images belong to its training set, of which it knows 99.8 %: figures tell what a change
costs, not how well the network generalises.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from harness import REPO_ROOT
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.core.model import Preprocessing

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PREPROCESSING = Preprocessing(height=32, width=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TRAINING_IMAGES = 3000
_SHARED = REPO_ROOT.parent / "shared" / "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """`x_NCHW` float32 after mean and std, `y_N`."""

    x_NCHW: Tensor
    y_N: Tensor


class Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.padded = stride, channels - channels_in

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = F.relu(self.bn1(self.conv1(x_NCHW)))
        y_NCHW = self.bn2(self.conv2(y_NCHW))
        if self.padded:
            half = self.padded // 2
            x_NCHW = F.pad(x_NCHW[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(y_NCHW + x_NCHW)


class ResNet20(nn.Module):
    """`x_NCHW` (N, 3, 32, 32) after mean and std -> logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[Block(16, 16, 1) for _ in range(3)])
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = F.relu(self.bn1(self.conv1(x_NCHW)))
        y_NCHW = self.layer3(self.layer2(self.layer1(y_NCHW)))
        logits_NK: Tensor = self.linear(y_NCHW.mean((2, 3)))
        return logits_NK


def resnet20(shared: Path = _SHARED) -> ResNet20:
    """With its published weights, in eval mode."""
    checkpoint = torch.load(
        shared / "models/cifar10_resnets/resnet20-12fca82f.th", map_location="cpu", weights_only=True
    )
    network = ResNet20()
    network.load_state_dict({name.removeprefix("module."): value for name, value in checkpoint["state_dict"].items()})
    return network.eval()


def images(shared: Path = _SHARED) -> tuple[Images, Images]:
    """Those to learn from, the first 3,000, and those to judge by, the other 1,000."""
    with np.load(shared / "images/cifar10_train4000.npz", allow_pickle=False) as file:
        x_NHWC, y = file["x"], file["y"]
    x_NCHW = torch.from_numpy(x_NHWC.transpose(0, 3, 1, 2).copy()).float() / 255
    mean_C, std_C = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)
    x_NCHW = (x_NCHW - mean_C[:, None, None]) / std_C[:, None, None]
    y_N = torch.from_numpy(y.astype(np.int64))
    return (
        Images(x_NCHW=x_NCHW[:TRAINING_IMAGES], y_N=y_N[:TRAINING_IMAGES]),
        Images(x_NCHW=x_NCHW[TRAINING_IMAGES:], y_N=y_N[TRAINING_IMAGES:]),
    )
