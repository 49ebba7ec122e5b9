"""Vectors as integers modulo 2^32, whose sums are exact: what secure aggregation adds up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError, UsageError
from edgekit.federated.randomness import RandomBytes, uniform

Ring = NDArray[np.uint32]
"""Integers modulo 2^32; negative ones in two's complement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedPoint:
    """`largest` magnitude of a number, `clients` in a sum at most, `most_samples` of a client that count.

    A client weighs samples / most_samples, and the resolution is largest * clients / 2^31 for one that weighs 1. Raises
    UsageError where sums could exceed the ring.
    """

    largest: float
    clients: int
    most_samples: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.largest < math.inf or min(self.clients, self.most_samples) < 1:
            raise UsageError(
                f"fixed-point numbers up to {self.largest:g} of {self.clients} clients with {self.most_samples} samples",
                hint="all three must be above 0",
            )
        if self.clients * self.most_samples >= 2**31:
            raise UsageError(
                f"{self.clients} clients of up to {self.most_samples} samples each exceed 31 bits together",
                hint="lower the number of samples of a client that count",
            )

    @property
    def levels(self) -> int:
        """Steps from 0 to `largest`: so many that the sum of all clients fits with its sign."""
        return (2**31 - 1) // self.clients

    def encoded(self, vector_P: NDArray[np.float32], samples: int, random_bytes: RandomBytes) -> Ring:
        """P + 1 integers: the vector times the client's weight, rounded up or down at random without bias, and its samples.

        Numbers beyond `largest` and samples beyond `most_samples` are cut to them. Raises BadInputError where a number is
        not finite.
        """
        if not np.isfinite(vector_P).all() or samples < 0:
            raise BadInputError("an update holds numbers that are not finite", hint="lower the learning rate")
        samples = min(samples, self.most_samples)
        scale = self.levels / self.largest * (samples / self.most_samples)
        exact_P = np.clip(vector_P.astype(np.float64), -self.largest, self.largest) * scale
        whole_P = np.floor(exact_P + uniform(len(vector_P), random_bytes)).astype(np.int64)
        return np.append(whole_P, samples).astype(np.uint32)

    def decoded_mean(self, sum_P: Ring) -> tuple[NDArray[np.float32], int]:
        """Of the sum of what `encoded` gave, the mean weighted by samples and how many samples there were.

        Raises BadInputError where there were none.
        """
        samples = int(sum_P[-1])
        if samples == 0:
            raise BadInputError("a sum covers no samples", hint="every client that takes part needs a sample")
        scale = self.largest / self.levels * (self.most_samples / samples)
        return (sum_P[:-1].astype(np.int32) * scale).astype(np.float32), samples
