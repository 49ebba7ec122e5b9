"""The statistics of normalisation: whose they are in training, and how they are taken anew before they are frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from edgekit.supernet.blocks import MOMENTUM, ChannelNorm, CountNorm
from edgekit.supernet.resizing import resized
from edgekit.supernet.supernet import Supernet

BATCHES = 8


@contextmanager
def statistics_held(supernet: Supernet) -> Iterator[None]:
    """Networks that train in here normalise by their batch and leave the running statistics as they are."""
    norms = _norms(supernet)
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm in norms:
        norm.momentum = MOMENTUM


@torch.no_grad()
def settle_statistics(supernet: Supernet, draw: Callable[[], Tensor]) -> None:
    """Averages the moments of BATCHES batches for every image size, in place; `draw` gives `x_NCHW` float32 in [0, 1].

    A channel's are those that it has in the full network; a sum of fewer bricks has its own row, taken with the first
    bricks of every block.
    """
    spec = supernet.spec
    norms = _norms(supernet)
    for size, pixels in enumerate(spec.image_sizes):
        for count in range(max(block.bricks for block in spec.blocks), 0, -1):
            genes = (size, *(max(block.fewest_bricks, min(count, block.bricks)) for block in spec.blocks))
            full = genes[1:] == spec.most_genes[1:]
            for batch in range(BATCHES):
                for norm in norms:
                    norm.train(full or isinstance(norm, CountNorm))
                    norm.momentum = 1 / (batch + 1)
                x_NCHW = resized(draw(), pixels).contiguous(memory_format=torch.channels_last)
                supernet(x_NCHW, spec.genotype(genes))
    for norm in norms:
        norm.momentum = MOMENTUM
    supernet.eval()


def _norms(supernet: Supernet) -> list[ChannelNorm | CountNorm]:
    return [module for module in supernet.modules() if isinstance(module, (ChannelNorm, CountNorm))]
