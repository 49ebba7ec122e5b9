"""What a cohort learnt, made one: robust means over clients, or over groups of clients whose secure sums alone are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from edgekit.federated.layout import Layout, central_moments, second_moments
from edgekit.federated.messages import Update
from edgekit.federated.parts import Part, covered
from edgekit.federated.releases import Known, split_by_layer
from edgekit.federated.replies import parts_of
from edgekit.federated.settings import Settings
from edgekit.pruning.aggregation import bounded, trimmed_mean, weights_of
from edgekit.pruning.masks import Masks, kept
from edgekit.pruning.progressive import Sparse, merged_gradients


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """K vectors `delta_KV` of as many clients, or groups of them, with their samples and the part of the network they trained."""

    delta_KV: NDArray[np.float32]
    samples_K: Sequence[int]
    parts_K: Sequence[str]


def averaged(
    module: fx.GraphModule,
    layout: Layout,
    settings: Settings,
    masks: Masks,
    vector_V: NDArray[np.float32],
    changes: Changes,
) -> NDArray[np.float32]:
    """The vector moved by the trimmed mean of the changes, no part of which is much longer than that of most."""
    delta_KV, number = changes.delta_KV, kept(masks)
    for part in (layout.parameters(number), layout.statistics(number)):
        delta_KV = bounded(delta_KV, part, settings.norm_limit)
    has_KV = None
    if any(one != Part.ALL for one in changes.parts_K):
        has_KV = np.stack([covered(module, layout, masks, Part(one)) for one in changes.parts_K])
    mean_V = trimmed_mean(delta_KV, weights_of(changes.samples_K), trim_of(settings, len(delta_KV)), has_KV)
    moved_V = vector_V.astype(np.float64)
    statistics = layout.statistics(number)
    moved_V[statistics] = second_moments(moved_V[statistics])
    moved_V += mean_V
    moved_V[statistics] = central_moments(moved_V[statistics])
    return moved_V.astype(np.float32)


def trim_of(settings: Settings, number: int) -> float:
    """Of three groups or more, whatever is trimmed at all, one at both ends at least: one client spoils a group."""
    if settings.secure and settings.trim and number >= 3:
        return max(settings.trim, 1.5 / number)
    return settings.trim


def merged(updates: Sequence[Update], counts: Mapping[str, int], settings: Settings) -> dict[str, Sparse]:
    """By layer the largest of what the clients together found; no client's gradients are much longer than those of most."""
    ordered = [(name, counts[name]) for name in sorted(counts)]
    value_KA = bounded(np.stack([one.value_A for one in updates]), slice(None), settings.norm_limit)
    weights = weights_of([one.samples for one in updates]).tolist()
    parts: dict[str, list[Sparse]] = {name: [] for name, _ in ordered}
    for one, value_A in zip(updates, value_KA, strict=True):
        for (name, _), indices, values in zip(
            ordered, parts_of(one.index_A, ordered), parts_of(value_A, ordered), strict=True
        ):
            parts[name].append(
                Sparse(index_A=torch.from_numpy(indices.astype(np.int64)), value_A=torch.from_numpy(values.copy()))
            )
    return {name: merged_gradients(parts[name], weights, count) for name, count in ordered}


def merged_at_positions(
    known: Sequence[Known], positions: Mapping[str, NDArray[np.int64]], settings: Settings
) -> dict[str, Sparse]:
    """By layer the gradients at the positions, in which all vectors end."""
    total = sum(map(len, positions.values()))
    if not total:
        return {}
    value_KA = bounded(np.stack([one.vector_P[-total:] for one in known]), slice(None), settings.norm_limit)
    mean_A = trimmed_mean(value_KA, weights_of([one.samples for one in known]), trim_of(settings, len(known)))
    return {
        name: Sparse(index_A=torch.from_numpy(index_A), value_A=torch.from_numpy(value_A.astype(np.float32)))
        for (name, index_A), value_A in zip(positions.items(), split_by_layer(mean_A, positions), strict=True)
    }
