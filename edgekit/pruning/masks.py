"""Masks: which weights of a network are kept, to one weight exactly, and how a mask is written down and recognised.

The weights that can be pruned are those of nn.Conv2d and nn.Linear; biases, normalisation and all else stay dense. The density
is the kept share of the weights that can be pruned.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.core.errors import BadInputError, UsageError

Masks = Mapping[str, Tensor]
"""By parameter name: bool of the parameter's shape, True where the weight is kept."""


def prunable(module: nn.Module) -> dict[str, Tensor]:
    """By parameter name, found by the type of the layer; a weight that several layers share counts once."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and id(layer.weight) not in seen:
            seen.add(id(layer.weight))
            found[f"{name}.weight" if name else "weight"] = layer.weight
    return found


def kept_in_total(sizes: Iterable[int], density: float) -> int:
    """How many of all weights a density keeps: the nearest whole number."""
    return round(density * sum(sizes))


def erk_shares(shapes: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Densities of the layers up to a common factor: Erdős–Rényi-Kernel (arXiv 1911.11134), (sum of the shape) / (its product)."""
    return {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}


def counts_of(shares: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Kept weights of each layer, in proportion to share * size, `total` in sum exactly.

    No layer gets more than it has (what is over goes to the others in proportion) or less than one. Fractions are rounded
    by largest remainder. Raises UsageError where `total` is less than one a layer or more than there is.
    """
    if not len(sizes) <= total <= sum(sizes.values()):
        raise UsageError(
            f"{total} weights cannot be kept in {len(sizes)} layers of {sum(sizes.values())} weights",
            hint="choose a density that keeps at least one weight of each layer, and at most 1",
        )

    def wanted(scale: float) -> dict[str, float]:
        return {name: min(float(size), max(1.0, scale * shares[name] * size)) for name, size in sizes.items()}

    low, high = 0.0, 1.0 / min(shares.values())
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(wanted(middle).values()) >= total else (middle, high)
    exact = wanted(high)
    counts = {name: min(sizes[name], max(1, math.floor(number))) for name, number in exact.items()}
    order = sorted(counts, key=lambda name: counts[name] - exact[name])
    while (missing := total - sum(counts.values())) != 0:
        step = 1 if missing > 0 else -1
        for name in (order if step > 0 else order[::-1])[: abs(missing)]:
            counts[name] = min(sizes[name], max(1, counts[name] + step))
    return counts


def largest(score: Tensor, count: int) -> Tensor:
    """True at the `count` largest; of equals, those that come first."""
    mask = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    mask[torch.sort(score.flatten(), descending=True, stable=True).indices[:count]] = True
    return mask.view(score.shape)


def magnitude_masks(weights: Mapping[str, Tensor], counts: Mapping[str, int]) -> dict[str, Tensor]:
    """In each layer its `counts` largest by magnitude."""
    return {name: largest(weight.detach().abs(), counts[name]) for name, weight in weights.items()}


def global_masks(scores: Mapping[str, Tensor], total: int) -> dict[str, Tensor]:
    """The `total` largest scores of all layers in one ranking; a layer may be left with none."""
    kept = largest(torch.cat([score.flatten() for score in scores.values()]), total)
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def none_empty(masks: Masks) -> dict[str, int]:
    """Kept weights of each layer, one at least, as many in sum."""
    sizes = {name: mask.numel() for name, mask in masks.items()}
    return counts_of({name: max(1, int(mask.sum())) / sizes[name] for name, mask in masks.items()}, sizes, kept(masks))


def density_of(masks: Masks) -> float:
    return kept(masks) / sum(mask.numel() for mask in masks.values())


def kept(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


@torch.no_grad()
def apply_masks(module: nn.Module, masks: Masks) -> None:
    """Sets every weight off its mask to zero, in place."""
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        # Not a product: zero times a weight that is not finite would not be zero.
        parameters[name].masked_fill_(~mask, 0.0)


def packed(masks: Masks) -> bytes:
    """One bit a weight, in the order of names."""
    bits = [masks[name].flatten().cpu().numpy() for name in sorted(masks)]
    return np.packbits(np.concatenate(bits)).tobytes() if bits else b""


def unpacked(content: bytes, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """The reverse of `packed`. Raises BadInputError where the length does not fit the shapes."""
    sizes = {name: math.prod(shapes[name]) for name in sorted(shapes)}
    total = sum(sizes.values())
    if len(content) != -(-total // 8):
        raise BadInputError(
            f"a mask of {len(content)} bytes, expected {-(-total // 8)} for {total} weights",
            hint="use the same network on both sides",
        )
    bits = torch.from_numpy(np.unpackbits(np.frombuffer(content, np.uint8), count=total).astype(bool))
    parts = torch.split(bits, list(sizes.values()))
    return {name: part.view(*shapes[name]) for name, part in zip(sizes, parts, strict=True)}


def hash_of(masks: Masks) -> str:
    """SHA-256 of names, shapes and bits: equal where and only where the masks are."""
    digest = hashlib.sha256()
    for name in sorted(masks):
        digest.update(f"{name} {tuple(masks[name].shape)}\n".encode())
    digest.update(packed(masks))
    return digest.hexdigest()
