"""The modular supernet: stem, blocks of bricks, head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.blocks import Block, ChannelNorm
from edgekit.supernet.convolution import convolve, kaiming
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec


class Supernet(nn.Module):
    """All bricks with their weights. `x_NCHW` float32 in [0, 1] -> logits `z_NK` over the whole vocabulary."""

    def __init__(self, spec: SupernetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.w_stem = nn.Parameter(kaiming(spec.stem_channels, 3, 3))
        self.norm_stem = ChannelNorm(spec.stem_channels, len(spec.image_sizes))
        self.blocks = nn.ModuleList(Block(block, len(spec.image_sizes)) for block in spec.blocks)
        self.head = nn.Linear(spec.features, spec.labels)

    def forward(self, x_NCHW: Tensor, genotype: Genotype) -> Tensor:
        """Computes the open bricks only."""
        return self._through(x_NCHW, genotype, gated=False)

    def forward_gated(self, x_NCHW: Tensor, genotype: Genotype) -> Tensor:
        """Computes every brick and multiplies it by its gate, 0 or 1: the definition that slicing must equal."""
        return self._through(x_NCHW, genotype, gated=True)

    def _through(self, x_NCHW: Tensor, genotype: Genotype, *, gated: bool) -> Tensor:
        size = self.spec.genes(genotype)[0]
        y_NCHW = self._stem(x_NCHW, size)
        for index, (block, spec) in enumerate(zip(self.blocks, self.spec.blocks, strict=True)):
            bricks = genotype.open_bricks(index)
            if not spec.beside:
                read_NCHW = y_NCHW
                y_NCHW = block(read_NCHW, bricks, size, gated=gated)
            elif bricks:
                y_NCHW = y_NCHW + block(read_NCHW, bricks, size, gated=gated)
        return self._head(y_NCHW)

    def _stem(self, x_NCHW: Tensor, size: int) -> Tensor:
        y_NCHW = convolve(x_NCHW, self.w_stem, 2)
        return F.relu(self.norm_stem(y_NCHW, slice(None), size))

    def _head(self, y_NCHW: Tensor) -> Tensor:
        logits: Tensor = self.head(y_NCHW.mean((2, 3)))
        return logits
