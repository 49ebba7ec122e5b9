"""Which tasks a supernet is trained, measured and taught with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgekit.tasks.sampling import Composition, compositions, random_task, split_compositions
from edgekit.tasks.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Curriculum:
    """Random label sets of log-uniform size and seen compositions; never the labels of a kept-out composition."""

    vocabulary: Vocabulary
    seen: tuple[Composition, ...]
    kept_out: tuple[Composition, ...]
    excluded: frozenset[frozenset[int]]

    @classmethod
    def of(cls, vocabulary: Vocabulary, *, seed: int) -> Curriculum:
        listed = compositions(vocabulary)
        # Of one or two none can be spared; a vocabulary made of plain names has none at all.
        seen, kept_out = split_compositions(vocabulary, seed=seed) if len(listed) > 2 else (listed, ())
        excluded = frozenset(frozenset(composition.indices) for composition in kept_out)
        return cls(vocabulary=vocabulary, seen=seen, kept_out=kept_out, excluded=excluded)

    def draw(self, rng: np.random.Generator, *, all_labels: float = 0.0, compositions: float = 0.25) -> tuple[int, ...]:
        """Sorted label indices; `all_labels` and `compositions` are the shares of those two kinds of task.

        A vocabulary without attributes and ancestors has no compositions: random tasks take their share.
        """
        kind = rng.random()
        n = len(self.vocabulary)
        # Of two labels there is no other task.
        if kind < all_labels or n == 2:
            return tuple(range(n))
        if self.seen and kind < all_labels + compositions:
            return self.seen[int(rng.integers(len(self.seen)))].indices
        size = round(math.exp(rng.uniform(math.log(2), math.log(n - 1))))
        return random_task(rng, self.vocabulary, size, exclude=self.excluded).indices
