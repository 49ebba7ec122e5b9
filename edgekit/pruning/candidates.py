"""Candidates of FedTiny (arXiv 2212.01977): masks of one trained network that differ by a random draw of its layers' densities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.core.errors import InfeasibleError
from edgekit.pruning.masks import (
    Masks,
    counts_of,
    erk_shares,
    global_masks,
    kept,
    kept_in_total,
    magnitude_masks,
    none_empty,
    prunable,
)
from edgekit.pruning.synaptic_flow import flow_masks, flow_ranking, reaches_all

FLOW, ERK, MAGNITUDE = range(3)
"""Seeds of the candidates that nothing is drawn for, from which the others are drawn."""
SPREAD = 0.5
"""Standard deviation of the logarithm of a layer's density in the draws that go farthest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """The seed of the draw, from which anyone with the same weights makes the same masks, and these."""

    seed: int
    masks: Masks

    @property
    def by_flow(self) -> bool:
        """Whether weights are kept for their synaptic flow, not for their magnitude."""
        return self.seed == FLOW or (self.seed > MAGNITUDE and self.seed % 2 == 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """What the candidates of one network at one density are drawn from: `origins` are those of the first seeds."""

    module: nn.Module
    input_shape: Sequence[int]
    origins: Sequence[Masks]

    @classmethod
    def of(cls, module: nn.Module, input_shape: Sequence[int], density: float) -> Draws:
        """Raises UsageError where the density keeps less than one weight of each layer."""
        weights = prunable(module)
        sizes = {name: weight.numel() for name, weight in weights.items()}
        total = kept_in_total(sizes.values(), density)
        shares = erk_shares({name: tuple(weight.shape) for name, weight in weights.items()})
        erk = magnitude_masks(weights, counts_of(shares, sizes, total))
        flow = flow_ranking(module, input_shape, total)
        if not reaches_all(module, input_shape, flow):
            flow = flow_masks(module, input_shape, none_empty(flow))
        magnitude = global_masks({name: weight.detach().abs() for name, weight in weights.items()}, total)
        if not reaches_all(module, input_shape, magnitude):
            magnitude = magnitude_masks(weights, none_empty(magnitude))
        return cls(module=module, input_shape=input_shape, origins=(flow, erk, magnitude))

    def counts(self, seed: int) -> dict[str, int]:
        """Kept weights of each layer, of seeds above the origins'.

        They start at a random place between the origins, in logarithms, and change each layer by a log-normal factor, some
        draws more than others. No layer is emptied, even where few weights are kept.
        """
        generator = torch.Generator().manual_seed(seed)
        far, *parts = torch.rand(1 + len(self.origins), generator=generator).clamp_min(1e-9).tolist()
        places = [math.log(part) / sum(map(math.log, parts)) for part in parts]
        sizes = {name: mask.numel() for name, mask in self.origins[ERK].items()}
        factors = (SPREAD * far * torch.randn(len(sizes), generator=generator)).exp().tolist()
        origins = [none_empty(masks) for masks in self.origins]
        shares = {
            name: math.prod(counts[name] ** place for counts, place in zip(origins, places, strict=True))
            / size
            * factor
            for (name, size), factor in zip(sizes.items(), factors, strict=True)
        }
        return counts_of(shares, sizes, kept(self.origins[ERK]))

    def candidate(self, seed: int) -> Candidate:
        """FLOW is one ranking by synaptic flow, ERK keeps the largest weights of each layer at the densities of ERK,
        MAGNITUDE is one ranking by magnitude. Of the others, even seeds keep the largest weights of each layer, odd ones
        those of the most synaptic flow.
        """
        if seed < len(self.origins):
            return Candidate(seed=seed, masks=self.origins[seed])
        counts = self.counts(seed)
        masks = (
            flow_masks(self.module, self.input_shape, counts)
            if seed % 2 == 1
            else magnitude_masks(prunable(self.module), counts)
        )
        return Candidate(seed=seed, masks=masks)


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


def counts_within(
    shares: Mapping[str, float], sizes: Mapping[str, int], uses: Mapping[str, int], total: int, macs: int
) -> dict[str, int]:
    """Kept weights of each layer, `total` in sum, at most `macs` for one input: as `shares` have it as far as that allows, then
    in between them and one density for all.

    Raises InfeasibleError where even one density for all is too much.
    """

    def counts(place: float) -> dict[str, int]:
        return counts_of({name: share**place for name, share in shares.items()}, sizes, total)

    def fits(place: float) -> bool:
        return sum(count * uses[name] for name, count in counts(place).items()) <= macs

    if not fits(0.0):
        raise InfeasibleError(
            f"{total} weights cannot be kept within {macs} multiply-accumulates with one density for all layers",
            hint="choose a lower density, or allow more multiply-accumulates",
        )
    low, high = (1.0, 1.0) if fits(1.0) else (0.0, 1.0)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return counts(low)
