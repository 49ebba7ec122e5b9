"""Candidates of FedTiny (arXiv 2212.01977): masks of one trained network that differ by a random draw of its layers' densities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.pruning.masks import Masks, counts_of, erk_shares, global_masks, kept_in_total, magnitude_masks

SPREAD = 0.5
"""Standard deviation of the logarithm of a layer's density in the draws that go farthest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """The seed of the draw of layer densities, from which anyone with the same weights makes the same masks."""

    seed: int
    masks: Masks


def drawn_counts(weights: Mapping[str, Tensor], density: float, seed: int) -> dict[str, int]:
    """Kept weights of each layer. Seed 0 is ERK itself.

    Other seeds start between ERK and the densities that one ranking of all weights by magnitude has, at a random place on
    the way in logarithms, and change each layer by a log-normal factor, some draws more than others. No layer is emptied,
    even where few weights are kept.
    """
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    sizes = {name: weight.numel() for name, weight in weights.items()}
    total = kept_in_total(sizes.values(), density)
    shares = erk_shares(shapes)
    if seed:
        generator = torch.Generator().manual_seed(seed)
        way, far = torch.rand(2, generator=generator).tolist()
        ranked = global_masks({name: weight.detach().abs() for name, weight in weights.items()}, total)
        erk = counts_of(shares, sizes, total)
        factors = (SPREAD * far * torch.randn(len(sizes), generator=generator)).exp().tolist()
        shares = {
            name: math.exp(
                (1 - way) * math.log(erk[name] / sizes[name])
                + way * math.log(max(1, int(ranked[name].sum())) / sizes[name])
            )
            * factor
            for name, factor in zip(sizes, factors, strict=True)
        }
    return counts_of(shares, sizes, total)


def candidate(weights: Mapping[str, Tensor], density: float, seed: int) -> Candidate:
    """Of every layer the largest weights, as many as the draw says."""
    return Candidate(seed=seed, masks=magnitude_masks(weights, drawn_counts(weights, density, seed)))


def uses_of(module: nn.Module, names: Sequence[str], x_1: Tensor) -> dict[str, int]:
    """How often one weight of each named parameter is multiplied for the one input `x_1`."""
    uses = dict.fromkeys(names, 0)

    def count(name: str, y: Tensor) -> None:
        layer = module.get_submodule(name.removesuffix("weight").removesuffix("."))
        uses[name] += y.shape[2:].numel() if isinstance(layer, nn.Conv2d) else y.shape[:-1].numel()

    handles = [
        module.get_submodule(name.removesuffix("weight").removesuffix(".")).register_forward_hook(
            lambda _layer, _given, y, name=name: count(name, y)
        )
        for name in names
    ]
    try:
        with torch.no_grad():
            module(x_1)
    finally:
        for handle in handles:
            handle.remove()
    return uses


def macs_of(masks: Masks, uses: Mapping[str, int]) -> int:
    """Multiply-accumulates of the kept weights: theoretical, for dense kernels execute the zeros too."""
    return sum(int(mask.sum()) * uses[name] for name, mask in masks.items())
