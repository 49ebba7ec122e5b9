"""Random changes of pictures for training, on inputs after mean and std."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from edgekit.assembler.training.augmentation import Augmentation
from edgekit.core.model import Preprocessing

MILD: Final = Augmentation(scale=(0.8, 1.1), stretch=0.1, shift=0.125, light=0.1, contrast=0.2, saturation=0.2)


def picture_augmentation(
    preprocessing: Preprocessing, *, augmentation: Augmentation = MILD
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A function of `x_NCHW` (N, 3, H, W) as the network takes them and a generator -> the same, each picture changed by itself.

    Pictures are mirrored only where the augmentation says so: not all things look alike in a mirror.
    """
    mean_C11 = torch.tensor(preprocessing.mean)[:, None, None]
    std_C11 = torch.tensor(preprocessing.std)[:, None, None]

    def augment(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        mean, std = mean_C11.to(x_NCHW.device), std_C11.to(x_NCHW.device)
        drawn_NR = augmentation.draw(len(x_NCHW), generator)
        return (augmentation.change(x_NCHW * std + mean, drawn_NR) - mean) / std

    return augment
