"""Scores by which weights are pruned once, before training: magnitude, SNIP (arXiv 1810.02340), SynFlow (arXiv 2006.05467)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.pruning.masks import Masks, apply_masks, global_masks, kept_in_total, prunable

SYNFLOW_ROUNDS = 100


def magnitude(module: nn.Module, density: float) -> Masks:
    """One ranking of all weights."""
    weights = prunable(module)
    total = kept_in_total([weight.numel() for weight in weights.values()], density)
    return global_masks({name: weight.detach().abs() for name, weight in weights.items()}, total)


def snip(module: nn.Module, density: float, losses: Sequence[Callable[[nn.Module], Tensor]]) -> Masks:
    """|weight * gradient| of the mean loss over mini-batches, one ranking, normalisation in training mode as in the paper."""
    module = copy.deepcopy(module).train()
    weights = prunable(module)
    for loss_of in losses:
        torch.autograd.backward(loss_of(module) / len(losses))
    total = kept_in_total([weight.numel() for weight in weights.values()], density)
    return global_masks(
        {name: (weight * weight.grad).detach().abs() for name, weight in weights.items() if weight.grad is not None},
        total,
    )


def synflow(module: nn.Module, density: float, input_shape: Sequence[int]) -> Masks:
    """Weights of the paths that carry most, without data: the paper's 100 rounds of falling density, in double precision.

    Normalisation is reduced to its scale and biases are zero, as they are before training: else flow would begin in the middle.
    """
    module = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, _BatchNorm):
                layer.running_mean.zero_()
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            parameter.abs_()
    weights = prunable(module)
    sizes = [weight.numel() for weight in weights.values()]
    x_1 = torch.ones(1, *input_shape, dtype=torch.float64, device=next(module.parameters()).device)
    masks: Masks = {}
    for number in range(1, SYNFLOW_ROUNDS + 1):
        module.zero_grad()
        torch.autograd.backward(module(x_1).sum())
        scores = {name: (weight * weight.grad).detach().abs() for name, weight in weights.items()}
        masks = global_masks(scores, kept_in_total(sizes, density ** (number / SYNFLOW_ROUNDS)))
        apply_masks(module, masks)
    return masks
