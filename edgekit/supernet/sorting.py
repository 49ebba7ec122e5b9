"""The order of hidden channels: the most important first, so that the first bricks of a block make the best small network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgekit.supernet.attention import SqueezeAndExcitation
from edgekit.supernet.blocks import Block, ChannelNorm
from edgekit.supernet.spec import Attention, BlockKind
from edgekit.supernet.supernet import Supernet


@torch.no_grad()
def sort_channels(supernet: Supernet) -> None:
    """Permutes the hidden channels of every block in place, by falling importance; the full network computes the same.

    Once-for-all networks (arXiv 1908.09791) sort by the norm of weights before they train smaller widths. Here a channel's
    importance is the energy that it brings into the block's sum: its mean square after normalisation and ReLU, taking what
    normalisation gives for normal, times the squared norm of its column of the projection. The halves of a ghost brick move
    together. Blocks with ECA keep their order: what a channel's gate hears are its neighbours.
    """
    for block in supernet.blocks:
        assert isinstance(block, Block)  # noqa: S101
        if block.spec.attention is not Attention.ECA:
            _permute(block, torch.argsort(_importance(block), descending=True, stable=True))


def _importance(block: Block) -> Tensor:
    """`importance_F` of the filters of the first convolution, each with all that follows from it."""
    column_C = block.w_project.flatten(1).square().sum(0)
    kind, filters = block.spec.kind, len(block.w_first)
    if kind is BlockKind.FUSED:
        return _energy(block.norm_first) * column_C
    if kind is BlockKind.GHOST:
        return _energy(block.norm_first) * column_C[:filters] + _energy(block.norm_depthwise) * column_C[filters:]
    return _energy(block.norm_depthwise) * column_C


def _energy(norm: ChannelNorm) -> Tensor:
    """E[relu(y)^2] of y ~ N(beta, gamma^2), channel by channel."""
    deviation_C = norm.gamma.abs().clamp_min(1e-6)
    z_C = norm.beta / deviation_C
    density_C = torch.exp(-0.5 * z_C**2) / math.sqrt(2 * math.pi)
    energy_C: Tensor = (norm.beta**2 + deviation_C**2) * torch.special.ndtr(z_C) + norm.beta * deviation_C * density_C
    return energy_C


def _permute(block: Block, order_F: Tensor) -> None:
    filters = len(order_F)
    channels = torch.cat([order_F, order_F + filters]) if block.spec.kind is BlockKind.GHOST else order_F
    for norm in block.children():
        if isinstance(norm, ChannelNorm):
            for values in (norm.gamma, norm.beta, norm.mean, norm.var):
                values.copy_(values[..., order_F])
    of_filters: list[nn.Parameter] = [block.w_first]
    if block.spec.depthwise is not None:
        of_filters.append(block.w_depthwise)
    for weights in of_filters:
        weights.copy_(weights[order_F])
    block.w_project.copy_(block.w_project[:, channels])
    if isinstance(block.attention, SqueezeAndExcitation):
        attention = block.attention
        attention.w_reduce.copy_(attention.w_reduce[:, channels])
        attention.w_expand.copy_(attention.w_expand[channels])
        attention.b_expand.copy_(attention.b_expand[channels])
