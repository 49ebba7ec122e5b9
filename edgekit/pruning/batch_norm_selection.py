"""Adaptive batch-norm selection of FedTiny (arXiv 2212.01977): statistics of every client, merged, then a vote of all clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Mean and variance (without Bessel's correction) of each channel."""

    mean_C: Tensor
    var_C: Tensor


Statistics = Mapping[str, Moments]
"""By the name of the normalisation layer."""


def norms_of(module: nn.Module) -> dict[str, _BatchNorm]:
    """Every batch normalisation that keeps running statistics, found by its type: what it is called says nothing."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def merged(parts: Sequence[Statistics], weights: Sequence[float]) -> dict[str, Moments]:
    """Those of all parts together: mean = sum w m, variance = sum w (v + m^2) - mean^2, with weights scaled to sum to 1."""
    total = sum(weights)
    both = {}
    for name in parts[0]:
        shares = [weight / total for weight in weights]
        moments = [part[name] for part in parts]
        mean_C = torch.stack([share * one.mean_C for share, one in zip(shares, moments, strict=True)]).sum(0)
        # About the common mean, so that nothing cancels: equal to the formula above.
        spread = [
            share * (one.var_C + (one.mean_C - mean_C).square()) for share, one in zip(shares, moments, strict=True)
        ]
        both[name] = Moments(mean_C=mean_C, var_C=torch.stack(spread).sum(0))
    return both


def measured(module: nn.Module, x_batches: Iterable[Tensor]) -> dict[str, Moments]:
    """What flows into every normalisation layer, over all batches; each batch is normalised by its own statistics.

    The module is left in eval mode with its running statistics as they were.
    """
    norms = norms_of(module)
    before = {name: _copy(layer) for name, layer in norms.items()}
    counted = {
        name: layer.num_batches_tracked.clone()
        for name, layer in norms.items()
        if layer.num_batches_tracked is not None
    }
    seen: list[dict[str, Moments]] = []
    sizes: list[float] = []

    def note(name: str, x: Tensor) -> None:
        dimensions = [index for index in range(x.ndim) if index != 1]
        var_C, mean_C = torch.var_mean(x, dimensions, correction=0)
        seen[-1][name] = Moments(mean_C=mean_C, var_C=var_C)

    handles = [
        layer.register_forward_pre_hook(lambda _layer, given, name=name: note(name, given[0]))
        for name, layer in norms.items()
    ]
    module.eval()
    for layer in norms.values():
        layer.train()
    try:
        with torch.no_grad():
            for x_N in x_batches:
                seen.append({})
                sizes.append(len(x_N))
                module(x_N)
    finally:
        module.eval()
        for handle in handles:
            handle.remove()
        load(module, before)
        for name, number in counted.items():
            norms[name].num_batches_tracked = number
    return merged(seen, sizes)


@torch.no_grad()
def load(module: nn.Module, statistics: Statistics) -> None:
    """Sets the running statistics of the module's normalisation layers."""
    for name, layer in norms_of(module).items():
        if layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.copy_(statistics[name].mean_C)
            layer.running_var.copy_(statistics[name].var_C)


def running(module: nn.Module) -> dict[str, Moments]:
    """A copy of the running statistics."""
    return {name: _copy(layer) for name, layer in norms_of(module).items()}


@torch.no_grad()
def mean_loss(module: nn.Module, batches: Iterable[tuple[int, Callable[[nn.Module], Tensor]]]) -> float:
    """In eval mode, so with the running statistics; `batches` are pairs of samples and the loss that a module has on them."""
    module.eval()
    total, samples = 0.0, 0
    for number, loss_of in batches:
        total += number * float(loss_of(module))
        samples += number
    return total / samples


def vote(losses_CK: Sequence[Sequence[float]], samples_K: Sequence[int], macs_C: Sequence[int]) -> int:
    """The candidate of least loss, each client's weighed by its samples; of equals the one of fewer MACs, then the first.

    A loss that is not finite loses.
    """

    def total(losses_K: Sequence[float]) -> float:
        mean = sum(loss * number for loss, number in zip(losses_K, samples_K, strict=True)) / sum(samples_K)
        return mean if mean == mean else float("inf")

    return min(range(len(losses_CK)), key=lambda index: (total(losses_CK[index]), macs_C[index], index))


def _copy(layer: _BatchNorm) -> Moments:
    if layer.running_mean is None or layer.running_var is None:  # norms_of names none such
        raise TypeError("no running statistics")
    return Moments(mean_C=layer.running_mean.clone(), var_C=layer.running_var.clone())
