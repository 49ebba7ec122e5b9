"""The modular supernet: stem, blocks of bricks, head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.blocks import Block, ChannelNorm, convolve, kaiming
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec


class Supernet(nn.Module):
    """All bricks with their weights. `x_NCHW` float32 in [0, 1] -> logits `z_NK` over the whole vocabulary."""

    stem_channels: Tensor

    def __init__(self, spec: SupernetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.w_stem = nn.Parameter(kaiming(spec.stem_channels, 3, 3))
        self.norm_stem = ChannelNorm(spec.stem_channels)
        self.register_buffer("stem_channels", torch.arange(spec.stem_channels), persistent=False)
        self.blocks = nn.ModuleList(Block(block) for block in spec.blocks)
        self.head = nn.Linear(spec.features, spec.labels)

    def forward(self, x_NCHW: Tensor, genotype: Genotype, *, gates: Sequence[Tensor] | None = None) -> Tensor:
        """Computes the open bricks only. `gates[b]` holds one weight for each open brick of block b (straight-through training)."""
        y_NCHW = self._stem(x_NCHW)
        for index, block in enumerate(self.blocks):
            y_NCHW = block(y_NCHW, genotype.open_bricks(index), gates=None if gates is None else gates[index])
        return self._head(y_NCHW)

    def forward_gated(self, x_NCHW: Tensor, genotype: Genotype) -> Tensor:
        """Computes every brick and multiplies it by its gate, 0 or 1: the definition that slicing must equal."""
        y_NCHW = self._stem(x_NCHW)
        for index, (block, spec) in enumerate(zip(self.blocks, self.spec.blocks, strict=True)):
            open_bricks = genotype.open_bricks(index)
            gates = torch.zeros(spec.bricks, device=x_NCHW.device)
            gates[list(open_bricks)] = 1
            y_NCHW = block(y_NCHW, tuple(range(spec.bricks)), count=len(open_bricks), gates=gates)
        return self._head(y_NCHW)

    def _stem(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = convolve(x_NCHW, self.w_stem, 2)
        return F.relu(self.norm_stem(y_NCHW, self.stem_channels))

    def _head(self, y_NCHW: Tensor) -> Tensor:
        logits: Tensor = self.head(y_NCHW.mean((2, 3)))
        return logits
