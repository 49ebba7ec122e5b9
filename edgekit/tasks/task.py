"""What a network must recognise."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edgekit.tasks.vocabulary import OTHER, Vocabulary


class TaskKind(StrEnum):
    """CLASSIFY tells the labels apart; PRESENCE tells whether any of them is there."""

    CLASSIFY = "classify"
    PRESENCE = "presence"


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Labels of a vocabulary, by index, and what is asked about them.

    `other` adds an output for all labels of the vocabulary that the task leaves out. `text` is how the user put it;
    two tasks are equal where they ask the same. Raises ValueError for indices that are not sorted, for `other` in a
    presence task (absent says it), and for a single class.
    """

    kind: TaskKind = TaskKind.CLASSIFY
    indices: tuple[int, ...]
    other: bool = False
    text: str = field(compare=False)

    def __post_init__(self) -> None:
        if not self.indices or self.indices[0] < 0 or list(self.indices) != sorted(set(self.indices)):
            raise ValueError(f"label indices {self.indices} are not sorted, unique and from 0")
        if self.kind is TaskKind.PRESENCE and self.other:
            raise ValueError("a presence task has no class other")
        if self.kind is TaskKind.CLASSIFY and len(self.indices) + self.other < 2:
            raise ValueError("there is nothing to tell a single class apart from")

    @property
    def needs_all_labels(self) -> bool:
        """Whether the head must keep a row for every label, because an output sums those that the task leaves out."""
        return self.kind is TaskKind.PRESENCE or self.other

    def vector(self, n: int) -> NDArray[np.float32]:
        """The task as a multi-hot vector (n,) over the n labels of the vocabulary. Raises IndexError beyond n."""
        vector = np.zeros(n, dtype=np.float32)
        vector[list(self.indices)] = 1
        return vector

    def outputs(self, vocabulary: Vocabulary) -> tuple[str, ...]:
        """The names of the network's outputs in order. Raises IndexError for a task of a larger vocabulary."""
        if self.kind is TaskKind.PRESENCE:
            return ("present", "absent")
        names = tuple(vocabulary.labels[index].name for index in self.indices)
        return (*names, OTHER) if self.other else names

    def grouping(self, n: int) -> NDArray[np.float32]:
        """The 0/1 matrix (outputs, n) that sums probabilities over the n labels of the vocabulary into the outputs.

        Where `needs_all_labels` is false it only selects rows, each output being one label: the head can then drop the
        other rows before the softmax. Raises IndexError beyond n.
        """
        chosen = self.vector(n)
        if self.kind is TaskKind.PRESENCE:
            return np.stack([chosen, 1 - chosen])
        rows = np.eye(n, dtype=np.float32)[list(self.indices)]
        return np.vstack([rows, 1 - chosen]) if self.other else rows
