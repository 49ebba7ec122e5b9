"""Gradual pruning (Zhu and Gupta, arXiv 1710.01878): a network loses its smallest weights bit by bit, and learns meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from edgekit.pruning.masked_training import Loss, masked_momenta, train_masked
from edgekit.pruning.masks import Masks, global_masks, kept_in_total, magnitude_masks, none_empty, prunable

PRUNED_AT: Final = 0.6
"""Share of the training after which no weight is lost any more."""
STEPS_BETWEEN: Final = 10


def density_at(share: float, density: float) -> float:
    """At a share of the training: d + (1 - d) (1 - t / T)^3, equation 1 of the paper."""
    return density + (1 - density) * (1 - min(1.0, share / PRUNED_AT)) ** 3


def prune_gradually(module: nn.Module, density: float, steps: Sequence[tuple[float, Loss]]) -> Masks:
    """Trains in place by `steps` (learning rates and losses, see `train_masked`); the masks at the end, of `density` exactly.

    Before every STEPS_BETWEEN-th step the smallest weights are lost in one ranking of all layers, in which each keeps one weight at
    least. What is lost stays lost.
    """
    sizes = {name: weight.numel() for name, weight in prunable(module).items()}
    masks: Masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(module).items()}
    momenta: dict[str, Tensor] = {}
    for first in range(0, len(steps), STEPS_BETWEEN):
        some = steps[first : first + STEPS_BETWEEN]
        share = (first + len(some)) / len(steps)
        masks = _smaller(module, masks, kept_in_total(sizes.values(), density_at(share, density)))
        momenta = train_masked(module, masks, masked_momenta(momenta, masks), some)
    return masks


def _smaller(module: nn.Module, masks: Masks, total: int) -> Masks:
    scores = {name: weight.detach().abs() * masks[name] for name, weight in prunable(module).items()}
    return magnitude_masks(scores, none_empty(global_masks(scores, total)))
