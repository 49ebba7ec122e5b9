"""Labelled images in memory, and their split: what shows the same object is never on both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

IMAGES_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Images `x_NCHW` uint8 RGB, labels `y_N`, and the group of each image (-1: none known); a group lies within a label."""

    x_NCHW: NDArray[np.uint8]
    y_N: NDArray[np.int64]
    group_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y_N)

    def take(self, chosen: NDArray[np.bool_]) -> Dataset:
        return Dataset(x_NCHW=self.x_NCHW[chosen], y_N=self.y_N[chosen], group_N=self.group_N[chosen])

    def compacted(self, chosen: NDArray[np.bool_]) -> Dataset:
        """As `take`, without memory for a copy: the images move within this dataset, which is of no use afterwards."""
        indices = np.flatnonzero(chosen)
        for first in range(0, len(indices), IMAGES_AT_ONCE):
            some = indices[first : first + IMAGES_AT_ONCE]
            self.x_NCHW[first : first + len(some)] = self.x_NCHW[some]
        return Dataset(x_NCHW=self.x_NCHW[: len(indices)], y_N=self.y_N[chosen], group_N=self.group_N[chosen])

    @property
    def units(self) -> NDArray[np.int64]:
        """`unit_N`: what stays on one side of a split, within its label: the group, or the image alone where none is known."""
        return np.where(self.group_N < 0, -1 - np.arange(len(self)), self.group_N)


def with_copies_grouped(dataset: Dataset, picture_N: NDArray[np.int64]) -> Dataset:
    """Joins into one group whatever shares a picture, directly or over other images; all else keeps its group.

    `picture_N` has the same number where the pixels are the same.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    units_2U, unit_N = np.unique(np.stack([dataset.y_N, dataset.units]), axis=1, return_inverse=True)
    number = units_2U.shape[1]
    edges = (np.ones(len(dataset)), (unit_N, number + picture_N))
    nodes = number + int(picture_N.max()) + 1
    component_V = connected_components(coo_array(edges, shape=(nodes, nodes)), directed=False)[1].astype(np.int64)
    units_of_component = np.bincount(component_V[:number], minlength=nodes)
    component_N = component_V[unit_N]
    joined_N = units_of_component[component_N] > 1
    new_N = max(0, int(dataset.group_N.max()) + 1) + component_N
    return replace(dataset, group_N=np.where(joined_N, new_N, dataset.group_N))


def split_by_group(dataset: Dataset, *, held_out: float, seed: int) -> tuple[Dataset, Dataset]:
    """(kept, held out): about `held_out` of the groups of each label, never an image of one group on both sides.

    At least one group of each label is held out, and unless it is the only one, at least one is kept. Images without a
    group count as one each.
    """
    generator = np.random.default_rng(seed)
    held = np.zeros(len(dataset), bool)
    unit_N = dataset.units
    for label in np.unique(dataset.y_N):
        of_label = dataset.y_N == label
        units = np.unique(unit_N[of_label])
        number = max(1, min(round(held_out * len(units)), len(units) - 1))
        held |= of_label & np.isin(unit_N, generator.choice(units, number, replace=False))
    return dataset.take(~held), dataset.take(held)
