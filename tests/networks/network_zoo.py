"""Small networks of the kinds that users bring."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Inverted(nn.Module):
    """A MobileNetV2-like block: expansion, depthwise, projection, residual sum."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
            nn.Conv2d(width, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.stride = stride

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = self.layers(x_NCHW)
        return x_NCHW + y_NCHW if self.stride == 1 else y_NCHW


class MobileLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(inplace=True))
        self.blocks = nn.Sequential(Inverted(8, 16), Inverted(8, 16, 2), Inverted(8, 16))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = F.adaptive_avg_pool2d(self.blocks(self.stem(x_NCHW)), 1)
        logits: Tensor = self.classifier(torch.flatten(y_NCHW, 1))
        return logits


class Squeezing(nn.Module):
    """Squeeze and excitation by a sigmoid, a learnt scale, and convolutions with "same" padding of even kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, padding="same")
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.scale = nn.Parameter(torch.rand(8) + 0.5)
        self.head = nn.Linear(8, 4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = F.silu(self.conv(x_NCHW))
        gate_NC11 = torch.sigmoid(self.up(F.relu(self.down(y_NCHW.mean((2, 3), keepdim=True)))))
        y_NCHW = y_NCHW * gate_NC11 * self.scale.view(1, -1, 1, 1) / 2 + 0.1
        logits: Tensor = self.head(F.avg_pool2d(y_NCHW, y_NCHW.shape[-1])[:, :, 0, 0])
        return logits


class Concatenating(nn.Module):
    """Branches that are joined, split, shuffled and upsampled."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, 2, 1)
        self.three = nn.ConvTranspose2d(4, 4, 2, 2)
        self.head = nn.Conv2d(8, 6, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        small_NCHW = F.leaky_relu(self.two(x_NCHW), 0.1)
        large_NCHW = F.interpolate(small_NCHW, scale_factor=2.0, mode="nearest")
        y_NCHW = torch.cat([self.one(x_NCHW), self.three(small_NCHW) + large_NCHW], dim=1)
        n, c, h, w = y_NCHW.shape
        y_NCHW = y_NCHW.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        first_NCHW, second_NCHW = y_NCHW.chunk(2, dim=1)
        y_NCHW = self.head(torch.cat([second_NCHW, F.gelu(first_NCHW)], 1))
        return torch.log_softmax(F.max_pool2d(y_NCHW, 2).amax((2, 3)), dim=-1)


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(10, 16),
            nn.BatchNorm1d(16),
            nn.PReLU(),
            nn.Linear(16, 16, bias=False),
            nn.LayerNorm(16),
            nn.Tanh(),
        )
        self.weight_IO = nn.Parameter(torch.randn(16, 3))

    def forward(self, x_NI: Tensor) -> Tensor:
        return self.layers(x_NI) @ self.weight_IO


class Signal(nn.Module):
    """One-dimensional convolutions over time, then attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 8, 5, 2, padding=2), nn.BatchNorm1d(8)
        self.query_key_value, self.group_norm = nn.Linear(8, 24), nn.GroupNorm(2, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x_NCT: Tensor) -> Tensor:
        y_NTC = self.group_norm(F.relu(self.norm(self.conv(x_NCT)))).transpose(1, 2)
        y_NTC = torch.cat([self.token.expand(y_NTC.shape[0], -1, -1), y_NTC], dim=1)
        n, t, c = y_NTC.shape
        q, k, v = self.query_key_value(y_NTC).view(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y_NHTC = F.scaled_dot_product_attention(q, k, v)
        logits: Tensor = self.head(y_NHTC.transpose(1, 2).reshape(n, t, c)[:, 0])
        return logits


class HardCoded(nn.Module):
    """Written for single inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = F.relu(self.conv(x_NCHW)).view(1, 4, 6, 6).reshape(1, 4, 36)
        logits: Tensor = self.head(y_NCHW.view(1, 144))
        return logits


class InPlace(nn.Module):
    """Writes in place what is read afterwards under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.conv(x_NCHW)
        same_NCHW, copy_NCHW = y_NCHW.contiguous(), y_NCHW.clone()
        y_NCHW.relu_()
        y_NCHW += copy_NCHW
        logits: Tensor = self.head((same_NCHW * y_NCHW).mean((2, 3)))
        return logits


class Shared(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.conv(F.relu(self.conv(x_NCHW)))
        logits: Tensor = self.head(y_NCHW.flatten(2).mean(-1))
        return logits


class Volume(nn.Module):
    """Three-dimensional convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1),
            nn.BatchNorm3d(4),
            nn.ELU(),
            nn.MaxPool3d(2),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
        )

    def forward(self, x_NCDHW: Tensor) -> Tensor:
        y_NC: Tensor = self.layers(x_NCDHW)
        return y_NC


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "mobile": (MobileLike, (3, 16, 16)),
    "squeezing": (Squeezing, (3, 8, 8)),
    "concatenating": (Concatenating, (3, 8, 8)),
    "perceptron": (Perceptron, (10,)),
    "signal": (Signal, (2, 16)),
    "hard_coded": (HardCoded, (1, 8, 8)),
    "in_place": (InPlace, (3, 6, 6)),
    "shared": (Shared, (4, 6, 6)),
    "volume": (Volume, (1, 6, 6, 6)),
}


def made(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A network of the table with seeded weights and statistics, in eval mode, and the shape of its inputs."""
    torch.manual_seed(0)
    kind, shape = NETWORKS[name]
    network = kind()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return network.eval(), shape


@cache
def torch_export(name: str, *, free: bool = False) -> torch.export.ExportedProgram:
    """At batch 2 or a free one; a network that is written for single inputs at batch 1."""
    network, shape = made(name)
    sizes = ({0: torch.export.Dim("n", min=1, max=64)},) if free else None
    batch = 1 if name == "hard_coded" else 2
    return torch.export.export(network, (torch.zeros(batch, *shape),), dynamic_shapes=sizes)
