"""The weights that a Ghost module starts with."""

from __future__ import annotations

import copy
from typing import Final

import torch
from torch import Tensor, nn

from edgekit.passes.ghost_initialisation import fit
from edgekit.passes.ghost_modules import GatedGhostModule, GhostModule, RepGhostModule
from edgekit.passes.sites import Site

_OPEN: Final = 4.0
"""What the sigmoid of a gate is given at first, whatever the input: 0.98 comes out, and it still has a slope to learn by."""
_SPAN: Final = 5


def give_ghosts(ghost: GhostModule, patches_CKT: Tensor, wanted_GT: Tensor) -> float:
    """Fits the cheap channels to what they are to be before the activation; the squared error behind it."""
    activation, size = ghost.cheap_activation, ghost.cheap.kernel_size
    each = len(wanted_GT) // len(patches_CKT)
    error = 0.0
    for index, shifts_KT in enumerate(patches_CKT):
        own = slice(index * each, (index + 1) * each)
        w_QK, predicted_QT = fit(shifts_KT, wanted_GT[own], activation)
        error += float((activation(predicted_QT) - activation(wanted_GT[own])).square().sum())
        with torch.no_grad():
            ghost.cheap.weight[own] = w_QK[:, :-1].reshape(-1, 1, *size)
        give_moments(ghost.cheap_norm, own, predicted_QT - w_QK[:, -1:], w_QK[:, -1])
    return error


def first_outputs(layer: nn.Conv2d, count: int) -> nn.Conv2d:
    """The convolution that computes its first channels alone."""
    first = copy.deepcopy(layer)
    first.weight = nn.Parameter(layer.weight.detach()[:count].clone())
    if layer.bias is not None:
        first.bias = nn.Parameter(layer.bias.detach()[:count].clone())
    first.out_channels = count
    return first


def give_norm(norm: nn.BatchNorm2d, site: Site, raw_CT: Tensor) -> None:
    """The normalisation that the first channels had; where they had none, one that changes nothing."""
    if site.norm is None:
        give_moments(norm, slice(None), raw_CT, torch.zeros(len(raw_CT)))
        return
    norm.eps = site.norm.eps
    with torch.no_grad():
        for name, tensor in (*norm.named_parameters(), *norm.named_buffers()):
            if tensor.ndim and (before := getattr(site.norm, name)) is not None:
                tensor.copy_(before[: len(tensor)])


def give_moments(norm: nn.BatchNorm2d, channels: slice, raw_CT: Tensor, constant_C: Tensor) -> None:
    """Makes the normalisation add a constant and nothing else, also after its statistics were measured again."""
    assert norm.running_mean is not None  # noqa: S101
    assert norm.running_var is not None  # noqa: S101
    var_C, mean_C = torch.var_mean(raw_CT, dim=1, correction=0)
    with torch.no_grad():
        norm.running_mean[channels], norm.running_var[channels] = mean_C, var_C
        norm.weight[channels] = (var_C + norm.eps).sqrt()
        norm.bias[channels] = mean_C + constant_C


def neutral_sum(ghost: GhostModule, finished_CT: Tensor) -> RepGhostModule:
    """Gives the computed channels as they are; only training adds the depthwise convolution, which starts with the ghosts' kernels.

    A convolution behind can express any linear mixture of shifts itself, so that there is nothing to add before. `finished_CT`
    are the computed channels.
    """
    size, channels = ghost.cheap.kernel_size[0], ghost.primary.out_channels
    module = RepGhostModule(ghost.primary, kernel=size, activation=ghost.primary_activation)
    module.primary_norm = ghost.primary_norm
    give_moments(module.identity_norm, slice(None), finished_CT, torch.zeros(channels))
    with torch.no_grad():
        module.cheap.weight.copy_(ghost.cheap.weight[:: len(ghost.cheap.weight) // channels])
        module.cheap_norm.weight.zero_()
    return module


def neutral_gate(ghost: GhostModule, *, size: tuple[int, int]) -> GatedGhostModule:
    """A gate that is one constant for all inputs, and channels divided by it: together what the Ghost module gives.

    Dividing before the activation is dividing behind it for a ReLU and for none.
    """
    gated = GatedGhostModule(ghost, span=_SPAN, size=size)
    constant = float(torch.tensor(_OPEN).sigmoid())
    with torch.no_grad():
        gated.down_norm.weight.zero_()
        gated.down_norm.bias.fill_(_OPEN)
        for norm in (ghost.primary_norm, ghost.cheap_norm):
            norm.weight.div_(constant)
            norm.bias.div_(constant)
        # What the cheap convolution reads has grown, so that its own statistics have, too.
        assert ghost.cheap_norm.running_mean is not None  # noqa: S101
        assert ghost.cheap_norm.running_var is not None  # noqa: S101
        ghost.cheap_norm.running_mean.div_(constant)
        ghost.cheap_norm.running_var.copy_(
            (ghost.cheap_norm.running_var + ghost.cheap_norm.eps) / constant**2 - ghost.cheap_norm.eps
        )
    return gated
