"""Random changes of pictures for training, on inputs after mean and std."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from edgekit.assembler.training.augmentation import Augmentation
from edgekit.core.model import Preprocessing

COLOURS: Final = Augmentation(light=0.1, contrast=0.2, saturation=0.2)
SHIFT: Final = 1 / 8


def picture_augmentation(
    preprocessing: Preprocessing, *, mirror: bool = False, shift: float = SHIFT
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A function of `x_NCHW` (N, 3, H, W) as the network takes them and a generator -> the same, each picture changed by itself.

    Shifted by whole pixels up to `shift` of its edges, the border repeated; light, contrast and saturation a little. Mirrored
    only on demand: not all things look alike in a mirror.
    """
    mean_C11 = torch.tensor(preprocessing.mean)[:, None, None]
    std_C11 = torch.tensor(preprocessing.std)[:, None, None]
    colours = replace(COLOURS, mirror=mirror)

    def augment(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        mean, std = mean_C11.to(x_NCHW.device), std_C11.to(x_NCHW.device)
        drawn_NR = colours.draw(len(x_NCHW), generator)
        x_NCHW = _shifted(x_NCHW, shift, generator)
        return (colours.change(x_NCHW * std + mean, drawn_NR) - mean) / std

    return augment


def _shifted(x_NCHW: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Between pixels an image would become softer than pictures are."""
    n, _, height, width = x_NCHW.shape
    places = []
    for size in (height, width):
        by_N1 = torch.randint(-round(most * size), round(most * size) + 1, (n, 1), generator=generator)
        places.append((torch.arange(size) + by_N1).clamp(0, size - 1).to(x_NCHW.device))
    rows_NH, columns_NW = places
    return x_NCHW.gather(2, rows_NH[:, None, :, None].expand_as(x_NCHW)).gather(
        3, columns_NW[:, None, None, :].expand_as(x_NCHW)
    )
