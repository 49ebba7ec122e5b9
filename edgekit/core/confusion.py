"""Which class was taken for which, and what that says about the classifier. Shapes: N pictures, C classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.proportion import wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """`counts[t][a]` pictures of class t were answered by class a, both in the order of `labels`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, y_N: NDArray[np.int64], answers_N: NDArray[np.int64], labels: tuple[str, ...]) -> Confusion:
        counts_CC = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(counts_CC, (y_N, answers_N), 1)
        return cls(labels=labels, counts=tuple(tuple(row) for row in counts_CC.tolist()))

    @property
    def pictures(self) -> int:
        return sum(map(sum, self.counts))

    @property
    def accuracy(self) -> float:
        """The share of all pictures that were answered rightly."""
        return sum(row[index] for index, row in enumerate(self.counts)) / self.pictures

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy, 95 %."""
        return wilson_interval(self.accuracy, self.pictures)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Confusion:
        return cls(labels=tuple(record["labels"]), counts=tuple(map(tuple, record["counts"])))

    def to_json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "counts": [list(row) for row in self.counts]}
