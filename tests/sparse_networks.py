"""Small networks with zeros in their convolutions: one that XNNPACK's sparse kernels fit, and ways to miss them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from edgekit.core.model import Model
from edgekit.exporters.tflite import convert_fp32


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.body(x_NCHW)


class Mean(nn.Module):
    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.mean((2, 3))


def convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups), nn.Hardswish())


INSERTED: dict[str, Callable[[], nn.Module]] = {
    "nothing": nn.Identity,
    "3x3": lambda: convolution(24, 24, 3),
    "max pool": lambda: nn.MaxPool2d(2),
}
ENDS: dict[str, Callable[[], list[nn.Module]]] = {
    "dense": lambda: [Mean(), nn.Linear(24, 10), nn.Softmax(-1)],
    "two dense": lambda: [Mean(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10)],
    "grouped": lambda: [Mean(), nn.Linear(24, 10), nn.Softmax(-1), nn.Linear(10, 4)],
    "map": lambda: [nn.Conv2d(24, 10, 1)],
    "1x1 behind the mean": lambda: [nn.AdaptiveAvgPool2d(1), nn.Conv2d(24, 10, 1), nn.Flatten()],
}


@cache
def pruned_network(
    *, zeros: float, side: int = 32, stem_stride: int = 2, inserted: str = "nothing", end: str = "dense"
) -> bytes:
    """An fp32 file of 3 x `side` x `side`."""
    torch.manual_seed(0)
    module = nn.Sequential(
        convolution(3, 8, 3, stride=stem_stride),
        convolution(8, 48, 1),
        convolution(48, 48, 5, stride=2, groups=48),
        convolution(48, 24, 1),
        INSERTED[inserted](),
        Residual(nn.Sequential(convolution(24, 96, 1), nn.Conv2d(96, 24, 1))),
        *ENDS[end](),
    )
    draw = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=draw)
            if layer.groups == 1 and layer.in_channels > 3:
                order = torch.randperm(layer.weight.numel(), generator=draw)
                layer.weight.data.view(-1)[order[: round(zeros * layer.weight.numel())]] = 0
    model = Model(
        module=torch.fx.symbolic_trace(module.eval()),
        input_shape=(3, side, side),
        labels=(),
        preprocessing=None,
        operators=(),
        output_range=None,
    )
    return convert_fp32(model)
