"""What leaves a client in a private round, in one form on both sides: its noised vector, or its part of a secure sum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError
from edgekit.federated.fixed_point import FixedPoint, Ring
from edgekit.federated.messages import Training
from edgekit.federated.parts import Part
from edgekit.federated.privacy import Privacy, clipped, protected, public_positions
from edgekit.federated.randomness import RandomBytes, repeatable
from edgekit.pruning.masks import Masks, kept

if TYPE_CHECKING:
    from edgekit.federated.layout import Layout
    from edgekit.federated.secure_messages import Cohort

POOL: Final = 4
"""Positions at which all clients tell the gradients, for each weight that is to grow."""
MOST_SAMPLES: Final = 1_000
"""Of a client that count in a secure sum."""
LARGEST_LOSS: Final = 16.0
"""Above which a loss counts as this."""
LARGEST_MOMENT: Final = 256.0
"""Above which a moment counts as this in a vote, in units of the network's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What the server gets to know: the vector of one client, or the mean of several; `loss` where it is told."""

    clients: tuple[int, ...]
    vector_P: NDArray[np.float32]
    samples: int
    loss: float | None
    part: Part


def positions_of(training: Training, masks: Masks) -> dict[str, NDArray[np.int64]]:
    """At which all clients of the round tell the gradients, by layer in the order of names."""
    return {
        name: public_positions(
            masks[name].numpy().reshape(-1),
            POOL * training.counts[name],
            np.random.default_rng(list(repeatable(training.seed, training.number, name)(16))),
        )
        for name in sorted(training.counts)
    }


def privacy_of(training: Training, shares: int) -> Privacy:
    """Delta is the server's to choose, and nothing that leaves depends on it."""
    return Privacy(clip=training.clip, noise_multiplier=training.noise_multiplier, shares=shares)


def units_of(vector_V: NDArray[np.float32], statistics: slice) -> NDArray[np.float32]:
    """By which a change from this vector is divided before it is cut, and multiplied once it is known: statistics are told in the
    network's own standard deviations and variances, else they would be most of the length."""
    unit_V = np.ones_like(vector_V)
    mean_C, var_C = np.split(vector_V[statistics].astype(np.float64), 2)
    if len(var_C):
        var_C = var_C + var_C.mean()  # a channel that is dead now must not count without bound once it lives
        unit_V[statistics] = np.concatenate([np.sqrt(var_C), var_C + mean_C**2])
    return unit_V


def cut(delta_V: NDArray[np.float32], statistics: slice, clip: float) -> NDArray[np.float32]:
    """Parameters and statistics each to the same length, so that all of it is `clip` long at most."""
    parts = [one for one in (delta_V[: statistics.start], delta_V[statistics]) if len(one)]
    return np.concatenate([clipped(one, clip / math.sqrt(len(parts))) for one in parts])


def released(
    training: Training,
    delta_V: NDArray[np.float32],
    value_A: NDArray[np.float32],
    shares: int,
    random_bytes: RandomBytes,
) -> NDArray[np.float32]:
    """The change, cut already, then the gradients: a release each, cut and noised on its own."""
    privacy = privacy_of(training, shares)
    return np.concatenate([protected(one, privacy, random_bytes) for one in (delta_V, value_A) if len(one)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Summand:
    """A client's part of the secure sum of a cohort, as integers: so many numbers `released`, and the loss. With noise every client
    weighs the same, and no loss is told; the noise of as many clients as the threshold is all of it."""

    training: Training
    released: int
    shares: int
    clients: int

    @classmethod
    def of(cls, training: Training, released: int, cohort: Cohort) -> Summand:
        return cls(training=training, released=released, shares=cohort.threshold, clients=len(cohort.clients))

    @property
    def _noised(self) -> bool:
        return self.training.noise_multiplier > 0

    @property
    def form(self) -> FixedPoint:
        return FixedPoint(
            largest=privacy_of(self.training, self.shares).largest_entry,
            clients=self.clients,
            most_samples=1 if self._noised else MOST_SAMPLES,
        )

    @property
    def size(self) -> int:
        """Of the sum: with the loss, where it is told, and the samples."""
        return self.released + (not self._noised) + 1

    def encoded(
        self,
        delta_V: NDArray[np.float32],
        value_A: NDArray[np.float32],
        *,
        loss: float,
        samples: int,
        random_bytes: RandomBytes,
    ) -> Ring:
        vector_P, form = released(self.training, delta_V, value_A, self.shares, random_bytes), self.form
        if self._noised:
            return form.encoded(vector_P, 1, random_bytes)
        scaled = np.float32(min(loss, LARGEST_LOSS) / LARGEST_LOSS * form.largest)
        return form.encoded(np.append(vector_P, scaled), samples, random_bytes)

    def decoded(self, sum_P: Ring, clients: tuple[int, ...]) -> Known:
        """Raises BadInputError where there were no samples, or more than so many clients can have."""
        known = known_of(self.form, sum_P, clients)
        if self._noised:
            return known
        loss = float(known.vector_P[-1]) / self.form.largest * LARGEST_LOSS
        return replace(known, vector_P=known.vector_P[:-1], loss=loss)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """A client's part of a secure sum of what it found about networks: so many `numbers` up to `largest`, as integers."""

    numbers: int
    largest: float
    clients: int

    @classmethod
    def of_moments(cls, numbers: int, cohort: Cohort) -> Tally:
        return cls(numbers=numbers, largest=LARGEST_MOMENT, clients=len(cohort.clients))

    @classmethod
    def of_losses(cls, numbers: int, cohort: Cohort) -> Tally:
        return cls(numbers=numbers, largest=LARGEST_LOSS, clients=len(cohort.clients))

    @property
    def form(self) -> FixedPoint:
        return FixedPoint(largest=self.largest, clients=self.clients, most_samples=MOST_SAMPLES)

    @property
    def size(self) -> int:
        """Of the sum: with the samples."""
        return self.numbers + 1

    def decoded(self, sum_P: Ring, clients: tuple[int, ...]) -> Known:
        """Raises BadInputError where there were no samples, or more than so many clients can have."""
        return known_of(self.form, sum_P, clients)


def known_of(form: FixedPoint, sum_P: Ring, clients: tuple[int, ...]) -> Known:
    """Raises BadInputError where there were no samples, or more than so many clients can have."""
    mean_P, samples = form.decoded_mean(sum_P)
    if samples > len(clients) * form.most_samples:
        raise BadInputError(f"a sum over {samples} samples of {len(clients)} clients", hint="a client spoilt it")
    return Known(clients=clients, vector_P=mean_P, samples=samples, loss=None, part=Part.ALL)


def moment_units(layout: Layout, masks_C: Sequence[Masks], vector_CV: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, S) by which moments of each network are divided before they are summed, and multiplied once the sum is known."""
    slices = (layout.statistics(kept(masks)) for masks in masks_C)
    return np.stack([units_of(one, where)[where] for one, where in zip(vector_CV, slices, strict=True)])


def split_by_layer(
    value_A: NDArray[np.float64], positions: Mapping[str, NDArray[np.int64]]
) -> list[NDArray[np.float64]]:
    return np.split(value_A, np.cumsum([len(one) for one in positions.values()])[:-1])
