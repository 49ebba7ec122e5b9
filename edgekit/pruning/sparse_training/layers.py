"""Layers and networks whose prunable weights exist as values at kept positions only."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.pruning.progressive import Sparse
from edgekit.pruning.sparse_training.convolution import Counter, Geometry, Pattern, convolved


class SparseLinear(nn.Linear):
    """The parameter `weight` holds the kept values alone (A,)."""

    def __init__(self, layer: nn.Linear, kept: Sparse) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.pattern = Pattern.of(kept.index_A, self.weight.shape, 1)
        self.counter = Counter()
        _fill(self, layer, kept)

    def forward(self, x_NI: Tensor) -> Tensor:
        x_MI11 = x_NI.reshape(-1, self.in_features, 1, 1)
        y_MO11 = convolved(x_MI11, self.weight, self.bias, self.pattern, Geometry(), self.counter)
        return y_MO11.view(*x_NI.shape[:-1], self.out_features)

    def positions(self) -> Tensor:
        """Of the kept weights in the dense one, flat (A,)."""
        return self.pattern.positions(self.in_features, self.out_features)


class SparseConv2d(nn.Conv2d):
    """The parameter `weight` holds the kept values alone (A,)."""

    def __init__(self, layer: nn.Conv2d, kept: Sparse) -> None:
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            layer.bias is not None,
            layer.padding_mode,
            device="meta",
        )
        self.pattern = Pattern.of(kept.index_A, self.weight.shape, self.groups)
        self.counter = Counter()
        left, right, top, bottom = self._reversed_padding_repeated_twice
        self.geometry = Geometry(
            kernel=_pair(self.kernel_size),
            stride=_pair(self.stride),
            dilation=_pair(self.dilation),
            padding=(left, right, top, bottom) if self.padding_mode == "zeros" else (0, 0, 0, 0),
        )
        _fill(self, layer, kept)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if self.padding_mode != "zeros":
            x_NCHW = F.pad(x_NCHW, self._reversed_padding_repeated_twice, self.padding_mode)
        return convolved(x_NCHW, self.weight, self.bias, self.pattern, self.geometry, self.counter)

    def positions(self) -> Tensor:
        """Of the kept weights in the dense one, flat (A,)."""
        return self.pattern.positions(
            self.in_channels // self.groups * math.prod(self.kernel_size), self.out_channels // self.groups
        )


SparseLayer = SparseLinear | SparseConv2d


def _pair(one: tuple[int, ...]) -> tuple[int, int]:
    height, width = one
    return height, width


def _fill(sparse: SparseLayer, layer: nn.Linear | nn.Conv2d, kept: Sparse) -> None:
    sparse.weight = nn.Parameter(kept.value_A.clone())
    if layer.bias is not None:
        sparse.bias = nn.Parameter(layer.bias.detach().clone())
