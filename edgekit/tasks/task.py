"""What a network must recognise."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edgekit.tasks.vocabulary import OTHER, Vocabulary


class TaskKind(StrEnum):
    """CLASSIFY tells the labels apart, GROUPED groups of them; PRESENCE tells whether any of them is there."""

    CLASSIFY = "classify"
    GROUPED = "grouped"
    PRESENCE = "presence"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Labels, by index, that share one output of this name."""

    name: str = field(compare=False)
    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Labels of a vocabulary, by index, and what is asked about them.

    `groups` are the outputs of a grouped task, in the order of their first labels; they part `indices`. `other` adds an output
    for all labels of the vocabulary that the task leaves out. `text` is how the user put it; two tasks are equal where they ask
    the same. Raises ValueError for indices that are not sorted, for groups that do not part them, for `other` in a presence
    task (absent says it), and for a single class.
    """

    kind: TaskKind = TaskKind.CLASSIFY
    indices: tuple[int, ...]
    groups: tuple[Group, ...] = ()
    other: bool = False
    text: str = field(compare=False)

    def __post_init__(self) -> None:
        if not self.indices or self.indices[0] < 0 or list(self.indices) != sorted(set(self.indices)):
            raise ValueError(f"label indices {self.indices} are not sorted, unique and from 0")
        if self.kind is TaskKind.PRESENCE and self.other:
            raise ValueError("a presence task has no class other")
        grouped = sorted(index for group in self.groups for index in group.indices)
        if grouped != (list(self.indices) if self.kind is TaskKind.GROUPED else []):
            raise ValueError(f"the groups {self.groups} do not part the labels of a {self.kind.value} task")
        if any(not group.indices for group in self.groups) or list(self.groups) != sorted(self.groups, key=_first):
            raise ValueError(f"the groups {self.groups} are not in the order of their first labels")
        classes = len(self.groups) if self.kind is TaskKind.GROUPED else len(self.indices)
        if self.kind is not TaskKind.PRESENCE and classes + self.other < 2:
            raise ValueError("there is nothing to tell a single class apart from")

    @property
    def sums(self) -> int | None:
        """The number of outputs where some sum the probabilities of several labels; None where each is one label."""
        if self.kind is TaskKind.PRESENCE:
            return 2
        summed = self.kind is TaskKind.GROUPED or self.other
        return len(self.groups or self.indices) + self.other if summed else None

    def head_rows(self, n: int) -> tuple[int, ...]:
        """The labels that keep their row of the head: the task's own, or all n where an output sums those left out."""
        return tuple(range(n)) if self.kind is TaskKind.PRESENCE or self.other else self.indices

    def vector(self, n: int) -> NDArray[np.float32]:
        """The task as a multi-hot vector (n,) over the n labels of the vocabulary. Raises IndexError beyond n."""
        vector = np.zeros(n, dtype=np.float32)
        vector[list(self.indices)] = 1
        return vector

    def outputs(self, vocabulary: Vocabulary) -> tuple[str, ...]:
        """The names of the network's outputs in order. Raises IndexError for a task of a larger vocabulary."""
        if self.kind is TaskKind.PRESENCE:
            return ("present", "absent")
        labels = tuple(vocabulary.labels[index].name for index in self.indices)
        names = tuple(group.name for group in self.groups) or labels
        return (*names, OTHER) if self.other else names

    def grouping(self, n: int) -> NDArray[np.float32]:
        """The 0/1 matrix (outputs, n) that sums probabilities over the n labels of the vocabulary into the outputs.

        Columns outside `head_rows` are 0: the head drops those rows before the softmax. Where `sums` is None it only
        selects rows, each output being one label. Raises IndexError beyond n.
        """
        chosen = self.vector(n)
        if self.kind is TaskKind.PRESENCE:
            return np.stack([chosen, 1 - chosen])
        groups = [group.indices for group in self.groups] or [(index,) for index in self.indices]
        rows = np.stack([np.eye(n, dtype=np.float32)[list(group)].sum(0) for group in groups])
        return np.vstack([rows, 1 - chosen]) if self.other else rows


def _first(group: Group) -> int:
    return group.indices[0]
