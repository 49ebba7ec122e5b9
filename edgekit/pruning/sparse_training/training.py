"""Masked training with sparse weights: the same steps as with dense ones, in the memory and the operations of the kept weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from edgekit.pruning.masked_training import Loss, descend
from edgekit.pruning.masks import Masks
from edgekit.pruning.progressive import Sparse
from edgekit.pruning.sparse_training.network import SparseNetwork


def kept_weights(module: nn.Module, masks: Masks) -> dict[str, Sparse]:
    """The weights that masks keep, by parameter name."""
    return {name: _kept(module.get_parameter(name), mask) for name, mask in masks.items()}


def train_kept(
    network: SparseNetwork, momenta: Mapping[str, Tensor], steps: Iterable[tuple[float, Loss]]
) -> dict[str, Tensor]:
    """As `train_masked`, in place; momenta of sparse layers are those of the kept weights (A,), too."""
    return descend(network, momenta, steps, lambda: None)


def train_sparse(
    module: nn.Module, masks: Masks, momenta: Mapping[str, Tensor], steps: Iterable[tuple[float, Loss]]
) -> dict[str, Tensor]:
    """`train_masked` by sparse kernels: the same arguments, and the same results but for the order of floating-point sums.

    The module is dense before and afterwards; who cannot hold it makes a `SparseNetwork` and calls `train_kept`.
    """
    network = SparseNetwork(module, kept_weights(module, masks))
    kept_momenta = {
        name: _kept(momentum, masks[name]).value_A if name in masks else momentum for name, momentum in momenta.items()
    }
    after = train_kept(network, kept_momenta, steps)
    write_back(network, module)
    module.eval()
    return {name: _dense(momentum, masks[name]) if name in masks else momentum for name, momentum in after.items()}


@torch.no_grad()
def write_back(network: SparseNetwork, module: nn.Module) -> None:
    """What the network learnt, into the dense module it was made of; weights that are not kept become zero."""
    kept = network.kept()
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in {**dict(network.named_parameters()), **dict(network.named_buffers())}.items():
        if name in kept:
            own[name].zero_().view(-1)[kept[name].index_A] = value
        else:
            own[name].copy_(value)


def _kept(dense: Tensor, mask: Tensor) -> Sparse:
    index_A = mask.flatten().nonzero().flatten()
    return Sparse(index_A=index_A, value_A=dense.detach().flatten()[index_A])


def _dense(value_A: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, dtype=value_A.dtype, device=value_A.device).masked_scatter_(mask, value_A)
