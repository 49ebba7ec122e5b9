"""Training under a mask: what is pruned is zero before, during and after every step; and the mean of what clients learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from edgekit.pruning.batch_norm_selection import norms_of
from edgekit.pruning.masks import Masks, apply_masks

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
LARGEST_GRADIENT = 1.0
RISE = 0.05
"""Share of the training in which the learning rate rises."""


Loss = Callable[[nn.Module], Tensor | Iterable[Tensor]]
"""Of a module on a mini-batch; or the parts whose sum it is, each differentiated before the next is asked for, so that
the activations of one part alone are held. Where a part is a smaller mini-batch, normalisation in training mode is by its own
statistics."""


def train_masked(
    module: nn.Module,
    masks: Masks,
    momenta: Mapping[str, Tensor],
    steps: Iterable[tuple[float, Loss]],
    *,
    measures: bool = True,
) -> dict[str, Tensor]:
    """Stochastic gradient descent (Nesterov) in place, gradients off the mask removed before they act; the new momenta.

    `steps` are pairs of a learning rate and the loss that the module has on a mini-batch; `momenta` by parameter name, empty
    at first. Normalisation is in training mode meanwhile, unless it is not to measure (`measures`), and the module in eval mode
    afterwards.
    """
    apply_masks(module, masks)
    parameters = dict(module.named_parameters())
    pruned = [(parameters[name], mask.to(parameters[name].dtype)) for name, mask in masks.items()]

    def mask_gradients() -> None:
        for parameter, factor in pruned:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)

    new_momenta = descend(module, momenta, steps, mask_gradients, measures=measures)
    apply_masks(module, masks)
    return new_momenta


def descend(
    module: nn.Module,
    momenta: Mapping[str, Tensor],
    steps: Iterable[tuple[float, Loss]],
    change_gradients: Callable[[], None],
    *,
    measures: bool = True,
) -> dict[str, Tensor]:
    """The steps of `train_masked`, each with a call of `change_gradients` before its gradients act."""
    parameters = dict(module.named_parameters())
    optimizer = torch.optim.SGD(
        parameters.values(), lr=0.0, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    for name, momentum in momenta.items():
        optimizer.state[parameters[name]]["momentum_buffer"] = momentum.clone()
    module.train()
    if not measures:
        for norm in norms_of(module).values():
            norm.eval()
    for learning_rate, loss_of in steps:
        optimizer.zero_grad()
        loss = loss_of(module)
        for part in [loss] if isinstance(loss, Tensor) else loss:
            torch.autograd.backward(part)
        change_gradients()
        nn.utils.clip_grad_norm_(parameters.values(), LARGEST_GRADIENT)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()
    module.eval()
    optimizer.zero_grad()
    return {
        name: optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in parameters.items()
        if optimizer.state[parameter].get("momentum_buffer") is not None
    }


def rise_and_fall(risen: float, fallen: float) -> float:
    """The learning rate's factor at shares of the training from 0 to 1: a straight rise, times half a cosine."""
    return min(1.0, risen / RISE + 0.02) * 0.5 * (1 + math.cos(math.pi * min(1.0, fallen)))


def masked_momenta(momenta: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """Without those of weights that are off the mask, so that a weight grown later starts at rest."""
    return {name: one * masks[name] if name in masks else one for name, one in momenta.items()}


def weighted_mean(parts: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """By name; of one part that part itself, to the bit."""
    if len(parts) == 1:
        return dict(parts[0])
    total = sum(weights)
    return {
        name: torch.stack([part[name] * (weight / total) for part, weight in zip(parts, weights, strict=True)]).sum(0)
        for name in parts[0]
    }
