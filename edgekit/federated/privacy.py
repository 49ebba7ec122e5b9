"""Differential privacy of a client: what leaves it is clipped and noised, and the accountant says what that is worth.

Every vector that leaves a client is a release: the change of its weights (with the change of the statistics of normalisation
in the same vector), the statistics and the losses of a vote, the gradients of an adjustment. Each is cut to an L2 norm and
gets Gaussian noise on the client (the Gaussian mechanism; DP-FedAvg, arXiv 1710.06963), so that nobody has to be trusted
with what it was before. The unit that is protected is the client: all of its images together.

The noise is distributed (arXiv 1511.06410 and 2102.06387): where a sum of clients is all that the server learns, each adds a
share, of variance (noise multiplier * clip)^2 / shares, and the sum of `shares` clients or more has the noise of the multiplier.
Without secure aggregation `shares` is 1 and every client adds all of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError, InfeasibleError, MissingExtraError, UsageError
from edgekit.federated.randomness import TAIL, RandomBytes, gaussian

_LOSS_STEP = 1e-3
"""Of the accountant's privacy losses, which it rounds up: epsilon is never too small."""
_LOSS_SHARE = 1e-6
"""Of releases over the squared noise multiplier, twice the mean loss of all: a step need not be smaller."""
_LARGEST_NOISE = 1e4


@dataclass(frozen=True, kw_only=True, slots=True)
class Privacy:
    """How a release is protected.

    `clip` is its largest L2 norm, `noise_multiplier` the standard deviation of the noise over `clip` (0: clipping alone, no
    privacy in the sense of epsilon), `delta` the probability with which epsilon may not hold (well below 1 / clients),
    `shares` the number of clients that surely are in each sum. Raises UsageError where a number is out of its range.
    """

    clip: float
    noise_multiplier: float
    delta: float = 1e-5
    shares: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.clip < math.inf:
            raise UsageError(f"a clipping norm of {self.clip:g}, expected more than 0", hint="a usual norm is 1")
        if not 0 <= self.noise_multiplier < math.inf:
            raise UsageError(
                f"a noise multiplier of {self.noise_multiplier:g}, expected 0 or more", hint="usual values are 0.5 to 2"
            )
        if not 0 < self.delta < 1:
            raise UsageError(
                f"delta is {self.delta:g}, expected a probability above 0 and below 1",
                hint="choose less than 1 divided by the number of clients",
            )
        if self.shares < 1:
            raise UsageError(f"noise in {self.shares} shares, expected 1 or more", hint="1 where no sum is secure")

    @property
    def standard_deviation(self) -> float:
        """Of the noise that one client adds to each number."""
        return self.noise_multiplier * self.clip / math.sqrt(self.shares)

    @property
    def largest_entry(self) -> float:
        """What no number of a protected vector exceeds: the range for its fixed-point form."""
        return self.clip + TAIL * self.standard_deviation


def protected(vector_P: NDArray[np.float32], privacy: Privacy, random_bytes: RandomBytes) -> NDArray[np.float32]:
    """What may leave the client. Raises BadInputError where the vector is not finite."""
    clipped_P = clipped(vector_P, privacy.clip)
    if privacy.noise_multiplier == 0:
        return clipped_P
    noise_P = privacy.standard_deviation * gaussian(len(vector_P), random_bytes)
    return (clipped_P + noise_P).astype(np.float32)


def clipped(vector_P: NDArray[np.float32], norm: float) -> NDArray[np.float32]:
    """Scaled down to an L2 norm of at most `norm`. Raises BadInputError where the vector is not finite."""
    length = float(np.linalg.norm(vector_P.astype(np.float64)))
    if not math.isfinite(length):
        raise BadInputError("an update holds numbers that are not finite", hint="lower the learning rate")
    if length <= norm:
        return vector_P
    # A little less, so that rounding to float32 does not lead above it.
    return (vector_P * (norm / length * (1 - 1e-6))).astype(np.float32)


def require_accountant() -> None:
    """Raises MissingExtraError where nothing can tell epsilon."""
    if find_spec("dp_accounting") is None:
        raise MissingExtraError("computing epsilon needs dp-accounting", hint="pip install 'edgekit[federated]'")


def epsilon(privacy: Privacy, releases: int, sampling_rate: float = 1.0) -> float:
    """Epsilon at `privacy.delta` after so many releases; infinite without noise.

    Neighbours are runs with a client's data and with that client's vectors all zero. Against everybody who does not know who took
    part (clients, owners of the final model), `releases` are those of the course and `sampling_rate` is the probability with which
    each client is drawn into a round, independently of the others (`drawn`). The server knows who took part: against it, and
    where cohorts are of a fixed size, the rate is 1 and `releases` are the most that one client took part in.

    By privacy loss distributions (arXiv 2106.08567, dp-accounting). Raises UsageError for numbers out of range and
    MissingExtraError where dp-accounting is not installed.
    """
    if releases < 0 or not 0 < sampling_rate <= 1:
        raise UsageError(
            f"epsilon of {releases} releases at a sampling rate of {sampling_rate:g}, "
            "expected 0 or more at a rate above 0 and up to 1",
            hint="the rate is the share of all clients that is drawn into a round",
        )
    if releases == 0:
        return 0.0
    if privacy.noise_multiplier == 0:
        return math.inf
    require_accountant()
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    # Small noise has privacy losses of many thousands, which a fixed step would cut into more parts than memory holds.
    step = max(_LOSS_STEP, _LOSS_SHARE * releases / privacy.noise_multiplier**2)
    event = GaussianDpEvent(privacy.noise_multiplier)
    if sampling_rate < 1:
        event = PoissonSampledDpEvent(sampling_rate, event)
    accountant = PLDAccountant(value_discretization_interval=step)
    return float(accountant.compose(event, releases).get_epsilon(privacy.delta))


def noise_multiplier_for(wanted: float, *, delta: float, releases: int, sampling_rate: float = 1.0) -> float:
    """The smallest noise multiplier, to a thousandth of itself and never below, whose `epsilon` is at most `wanted`.

    Raises UsageError for an epsilon of 0 or less and InfeasibleError where no usable noise is enough.
    """
    if not wanted > 0:
        raise UsageError(f"an epsilon of {wanted:g}, expected more than 0", hint="usual values are 1 to 10")

    def spent(multiplier: float) -> float:
        return epsilon(Privacy(clip=1, noise_multiplier=multiplier, delta=delta), releases, sampling_rate)

    high = 1.0
    while spent(high) > wanted:
        high *= 2
        if high > _LARGEST_NOISE:
            raise InfeasibleError(
                f"no noise makes {releases} releases private to an epsilon of {wanted:g}", hint="ask for fewer rounds"
            )
    # Small noise is dear to account for, so it is approached from above.
    low = high / 2
    while low > 1e-2 and spent(low) <= wanted:
        low, high = low / 2, low
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spent(middle) <= wanted else (middle, high)
    return high


def drawn(clients: Sequence[int], sampling_rate: float, generator: np.random.Generator) -> tuple[int, ...]:
    """Each client or not, independently of the others (Poisson sampling): the draw that `epsilon` counts on."""
    return tuple(np.asarray(clients)[generator.random(len(clients)) < sampling_rate].tolist())


def public_positions(mask: NDArray[np.bool_], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Flat indices of `count` pruned weights at random, ascending; of all of them where there are fewer.

    Which gradients are largest tells of the images, and noise on their values does not hide it. So with privacy, and where
    sums are secure, all clients send the gradients at the same positions, drawn from the seed of the round.
    """
    pruned = np.flatnonzero(~mask)
    return np.sort(generator.choice(pruned, min(count, len(pruned)), replace=False))
