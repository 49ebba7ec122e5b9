"""An early look at the front of a supernet in training: accuracy over MACs and image size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgekit.assembler.generator import BrickMacs, open_within
from edgekit.supernet.resizing import resized
from edgekit.supernet.supernet import Supernet

LIMITS = (0.25, 0.1, 0.03)
IMAGES_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontPoint:
    """Share of right answers over the whole vocabulary at one image size, in `full` or within a share of the full MACs."""

    limit: str
    image_size: int
    accuracy: float

    @property
    def name(self) -> str:
        return f"{self.limit}@{self.image_size}"


@torch.no_grad()
def early_front(
    supernet: Supernet, x_NCHW: Tensor, y_N: Tensor, *, sizes: Sequence[int], limits: Sequence[float]
) -> list[FrontPoint]:
    """In full and by first bricks within each limit, at the image sizes of these indices.

    Images are uint8 at the supernet's own size; the supernet is in eval mode.
    """
    spec = supernet.spec
    blocks, bricks = len(spec.blocks), max(block.bricks for block in spec.blocks)
    first_bricks_first = -np.arange(bricks, dtype=float)[None].repeat(blocks, 0)
    points = []
    for size in sizes:
        pixels, macs = spec.image_sizes[size], BrickMacs.of(spec, size)
        genotypes = {"full": spec.genotype((size, *spec.most_genes[1:]))} | {
            f"{limit * 100:g}%": spec.genotype((size, *open_within(first_bricks_first, spec, macs, limit)))
            for limit in limits
        }
        right = dict.fromkeys(genotypes, 0)
        for first in range(0, len(y_N), IMAGES_AT_ONCE):
            part = slice(first, first + IMAGES_AT_ONCE)
            small_NCHW = resized(x_NCHW[part].float() / 255, pixels).contiguous(memory_format=torch.channels_last)
            for limit, genotype in genotypes.items():
                right[limit] += int((supernet(small_NCHW, genotype).argmax(1) == y_N[part]).sum())
        points += [
            FrontPoint(limit=limit, image_size=pixels, accuracy=count / len(y_N)) for limit, count in right.items()
        ]
    return points


def best_sizes(points: list[FrontPoint]) -> list[FrontPoint]:
    """Of each limit the image size that does most with it."""
    limits = dict.fromkeys(point.limit for point in points)
    return [
        max((point for point in points if point.limit == limit), key=lambda point: point.accuracy) for limit in limits
    ]
