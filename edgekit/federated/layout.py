"""A masked network as one vector: kept weights, all other parameters, means and variances of the normalisation layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.core.errors import BadInputError
from edgekit.federated.wire import deflated, inflated
from edgekit.pruning.batch_norm_selection import Moments, load, norms_of, running
from edgekit.pruning.masks import Masks, packed, prunable, unpacked


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Names in the order of the vector, with their shapes or channels."""

    pruned: tuple[tuple[str, tuple[int, ...]], ...]
    dense: tuple[tuple[str, tuple[int, ...]], ...]
    norms: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        weights = prunable(module)
        return cls(
            pruned=tuple((name, tuple(weight.shape)) for name, weight in weights.items()),
            dense=tuple((name, tuple(one.shape)) for name, one in module.named_parameters() if name not in weights),
            norms=tuple((name, int(layer.num_features)) for name, layer in norms_of(module).items()),
        )

    @property
    def weights(self) -> int:
        """That can be pruned."""
        return sum(math.prod(shape) for _, shape in self.pruned)

    @property
    def others(self) -> int:
        """Parameters that stay dense."""
        return sum(math.prod(shape) for _, shape in self.dense)

    @property
    def moments(self) -> int:
        """Means and variances."""
        return 2 * sum(channels for _, channels in self.norms)

    def size(self, kept: int) -> int:
        return kept + self.others + self.moments

    def parameters(self, kept: int) -> slice:
        """The part of a vector that is trained."""
        return slice(0, kept + self.others)

    def statistics(self, kept: int) -> slice:
        """The part that is measured."""
        return slice(kept + self.others, self.size(kept))

    def vector(self, module: nn.Module, masks: Masks) -> NDArray[np.float32]:
        parameters = dict(module.named_parameters())
        parts = [parameters[name].detach().flatten()[masks[name].flatten()] for name, _ in self.pruned]
        parts += [parameters[name].detach().flatten() for name, _ in self.dense]
        whole = torch.cat(parts).cpu().numpy() if parts else np.empty(0, np.float32)
        return np.concatenate([whole, self.moments_of(running(module))]).astype(np.float32)

    @torch.no_grad()
    def load(self, module: nn.Module, masks: Masks, vector_V: NDArray[np.float32]) -> None:
        """Into the module; whatever is off the masks is zero."""
        kept = [int(masks[name].sum()) for name, _ in self.pruned]
        self.check(vector_V, sum(kept))
        sizes = [*kept, *(math.prod(shape) for _, shape in self.dense), self.moments]
        parts = torch.split(torch.from_numpy(vector_V.copy()), sizes)
        parameters = dict(module.named_parameters())
        for (name, _), part in zip(self.pruned, parts, strict=False):
            parameters[name].zero_()
            parameters[name].view(-1)[masks[name].flatten()] = part
        for (name, shape), part in zip(self.dense, parts[len(self.pruned) :], strict=False):
            parameters[name].copy_(part.view(shape))
        load(module, self.moments_by_name(parts[-1].numpy()))

    def check(self, vector_V: NDArray[np.float32], kept: int) -> None:
        """Raises BadInputError for another length or values that are not finite."""
        if vector_V.shape != (self.size(kept),):
            raise BadInputError(
                f"a vector of shape {vector_V.shape}, expected {(self.size(kept),)}",
                hint="use the same network and mask on both sides",
            )
        if not np.isfinite(vector_V).all():
            raise BadInputError("a vector holds numbers that are not finite", hint="lower the learning rate")

    def moments_of(self, statistics: dict[str, Moments]) -> NDArray[np.float32]:
        """Means of all layers, then variances."""
        means: list[Tensor] = [statistics[name].mean_C for name, _ in self.norms]
        variances: list[Tensor] = [statistics[name].var_C for name, _ in self.norms]
        return torch.cat(means + variances).cpu().numpy().astype(np.float32) if self.norms else np.empty(0, np.float32)

    def moments_by_name(self, moments_S: NDArray[np.float32]) -> dict[str, Moments]:
        channels = [number for _, number in self.norms]
        mean, var = torch.from_numpy(moments_S.copy()).view(2, -1) if self.norms else (torch.empty(0), torch.empty(0))
        parts = zip(self.norms, torch.split(mean, channels), torch.split(var, channels), strict=True)
        return {name: Moments(mean_C=mean_C, var_C=var_C) for (name, _), mean_C, var_C in parts}

    def pack(self, masks: Sequence[Masks]) -> bytes:
        return deflated(b"".join(packed(one) for one in masks))

    def unpack(self, content: bytes, number: int) -> list[dict[str, Tensor]]:
        """Raises BadInputError where it does not hold so many masks of this network."""
        size = -(-self.weights // 8)
        whole = inflated(content, number * size)
        shapes = dict(self.pruned)
        found = [unpacked(whole[first : first + size], shapes) for first in range(0, number * size, size)]
        return [{name: masks[name] for name, _ in self.pruned} for masks in found]


def second_moments(moments_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means and variances -> means and second moments, which can be averaged; (..., S)."""
    mean, var = np.split(moments_S, 2, axis=-1)
    return np.concatenate([mean, var + mean**2], axis=-1)


def central_moments(moments_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """The reverse; no variance is below zero."""
    mean, second = np.split(moments_S, 2, axis=-1)
    return np.concatenate([mean, np.maximum(second - mean**2, 0.0)], axis=-1)
