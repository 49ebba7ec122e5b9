"""The generator: (task, limit) -> brick logits, and the rule that turns logits into a genotype inside a limit.

After NN-Factory (arXiv 2308.15003). Bricks are kept sorted inside a block (SortedNet): logits fall with the brick's index, so
that a block always opens a prefix, and the generator decides how many bricks each block is worth for this task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.description import describe
from edgekit.supernet.spec import SupernetSpec

HIDDEN = 128


class Generator(nn.Module):
    """Task vectors `t_NL` (multi-hot over labels), limits `a_N` (share of the full MACs) and indices of the image size `s_N`
    -> logits `z_NBM` (blocks, bricks)."""

    def __init__(self, spec: SupernetSpec) -> None:
        super().__init__()
        self.blocks, self.bricks = len(spec.blocks), max(block.bricks for block in spec.blocks)
        self.sizes = len(spec.image_sizes)
        inputs = spec.labels + 3 + self.sizes - 1
        self.trunk = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.heads = nn.Linear(HIDDEN, self.blocks * self.bricks)

    def forward(self, t_NL: Tensor, a_N: Tensor, s_N: Tensor) -> Tensor:
        above = (s_N[:, None] > torch.arange(self.sizes - 1, device=s_N.device)).float()
        conditions = torch.cat([torch.stack([a_N, a_N.log(), t_NL.mean(1)], 1), above], 1)
        centred = (t_NL - t_NL.mean(1, keepdim=True)) * t_NL.shape[1] ** 0.5 / t_NL.sum(1, keepdim=True).sqrt()
        raw_NBM = self.heads(self.trunk(torch.cat([centred, conditions], 1))).unflatten(1, (self.blocks, self.bricks))
        falls = F.softplus(raw_NBM[..., 1:]).cumsum(-1)
        return torch.cat([raw_NBM[..., :1], raw_NBM[..., :1] - falls], -1)


@dataclass(frozen=True, kw_only=True, slots=True)
class BrickMacs:
    """MACs of the smallest subnet of one image size and of each further brick of a block, with the head over the whole
    vocabulary; `full` is that of the full supernet at its largest size."""

    fixed: int
    per_brick: tuple[int, ...]
    full: int

    @classmethod
    def of(cls, spec: SupernetSpec, size: int) -> BrickMacs:
        """`size` is the index of the image size."""
        blocks = len(spec.blocks)
        empty = _macs(spec, (size,) + (0,) * blocks)
        per_brick = tuple(
            _macs(spec, (size, *(int(index == block) for index in range(blocks)))) - empty for block in range(blocks)
        )
        return cls(fixed=empty, per_brick=per_brick, full=_macs(spec, spec.most_genes))

    def of_counts(self, counts: Sequence[int]) -> int:
        return self.fixed + sum(count * macs for count, macs in zip(counts, self.per_brick, strict=True))


def _macs(spec: SupernetSpec, genes: Sequence[int]) -> int:
    return sum(operator.macs for operator in describe(spec, spec.genotype(genes), rows=spec.labels, sums=None))


def open_within(z_BM: NDArray[np.floating], spec: SupernetSpec, macs: BrickMacs, limit: float) -> tuple[int, ...]:
    """Opens bricks by falling logit as long as MACs stay within `limit` x full; returns the count of each block.

    The smallest subnet is always open, also where it alone exceeds the limit.
    """
    counts = [block.fewest_bricks for block in spec.blocks]
    room = limit * macs.full - macs.of_counts(counts)
    for flat in np.argsort(-z_BM, axis=None, kind="stable"):
        block, brick = divmod(int(flat), z_BM.shape[1])
        exists = brick < spec.blocks[block].bricks
        if exists and counts[block] == brick and macs.per_brick[block] <= room:
            counts[block] += 1
            room -= macs.per_brick[block]
    return tuple(counts)
