"""Candidates of FedTiny (arXiv 2212.01977): masks of one trained network that differ by a random draw of its layers' densities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.pruning.masks import Masks, counts_of, erk_shares, kept_in_total, magnitude_masks, prunable
from edgekit.pruning.synaptic_flow import flow_counts, flow_masks

SPREAD = 0.5
"""Standard deviation of the logarithm of a layer's density in the draws that go farthest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """The seed of the draw, from which anyone with the same weights makes the same masks, and these."""

    seed: int
    masks: Masks


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """What the candidates of one network at one density are drawn from: `erk` and `flow` are kept weights by layer."""

    module: nn.Module
    input_shape: Sequence[int]
    sizes: Mapping[str, int]
    erk: Mapping[str, int]
    flow: Mapping[str, int]

    @classmethod
    def of(cls, module: nn.Module, input_shape: Sequence[int], density: float) -> Draws:
        """Raises UsageError where the density keeps less than one weight of each layer."""
        weights = prunable(module)
        sizes = {name: weight.numel() for name, weight in weights.items()}
        total = kept_in_total(sizes.values(), density)
        erk = counts_of(erk_shares({name: tuple(weight.shape) for name, weight in weights.items()}), sizes, total)
        flow = flow_counts(module, input_shape, total)
        return cls(
            module=module,
            input_shape=input_shape,
            sizes=sizes,
            erk=erk,
            flow=counts_of({name: max(1, flow[name]) / sizes[name] for name in sizes}, sizes, total),
        )

    def counts(self, seed: int) -> dict[str, int]:
        """Kept weights of each layer. Seed 0 is ERK, seed 1 is one ranking by synaptic flow.

        Other seeds start at a random place on the way between them, in logarithms, and change each layer by a log-normal
        factor, some draws more than others. No layer is emptied, even where few weights are kept.
        """
        if seed < 2:
            return dict(self.flow if seed else self.erk)
        generator = torch.Generator().manual_seed(seed)
        way, far = torch.rand(2, generator=generator).tolist()
        factors = (SPREAD * far * torch.randn(len(self.sizes), generator=generator)).exp().tolist()
        shares = {
            name: self.erk[name] ** (1 - way) * self.flow[name] ** way / size * factor
            for (name, size), factor in zip(self.sizes.items(), factors, strict=True)
        }
        return counts_of(shares, self.sizes, sum(self.erk.values()))

    def candidate(self, seed: int) -> Candidate:
        """Even seeds keep the largest weights of each layer, odd ones those of the most synaptic flow."""
        counts = self.counts(seed)
        masks = (
            flow_masks(self.module, self.input_shape, counts)
            if seed % 2
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
