"""Sizes written into a program for one batch, made to hold for any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def batch_axis(shape: Sequence[int], other: Sequence[int]) -> int | None:
    """The axis that grows with the batch, of the shapes of one tensor at two batches."""
    return next((axis for axis, (one, two) in enumerate(zip(shape, other, strict=True)) if one != two), None)


def free_view(shape: Sequence[int], axis: int, target: Sequence[int], *, batch: int) -> list[int] | None:
    """The `target` of a view of a tensor of `shape`, whose `axis` grows with the batch, with -1 where the target grows with it.

    What lies before the batch in memory must stay before it, what lies after it after it; None where the target mixes them.
    """
    before, after = math.prod(shape[:axis]), math.prod(shape[axis:]) // batch
    for position, size in enumerate(target):
        rest = math.prod(target[position + 1 :])
        if math.prod(target[:position]) == before and size % batch == 0 and rest and after % rest == 0:
            return [*target[:position], -1, *target[position + 1 :]]
    return None


def free_expansion(shape: Sequence[int], axis: int, sizes: Sequence[Any]) -> list[Any]:
    """The sizes of an expansion, with -1 for the axis that grows with the batch."""
    added = len(sizes) - len(shape)
    return [-1 if position == axis + added else size for position, size in enumerate(sizes)]
