"""What a course is asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgekit.core.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Of one course of federated learning. Raises UsageError for values outside their range.

    `density` is the kept share of the weights of convolutions and linear layers; 1 is plain federated averaging. A round asks
    `per_round` clients, drawn at random, to pass `epochs` times over their samples in mini-batches of `batch`. `candidates` masks
    are voted on. In the first three quarters of the rounds, every `interval`-th exchanges a share of one unit's weights, `exchange`
    at first. `trim` is the share of values left out at both ends of every mean, `norm_limit` how many times the median length an
    update may have. An answer later than `timeout_s` is not waited for.

    Clients cut what they send to a norm of `clip` where that is above 0, and add Gaussian noise of `noise_multiplier` times it,
    whose epsilon is told at `delta`. With `secure` a cohort is cut at random into up to `groups` groups of at least `minimum`
    clients, and the server learns the mean of each group alone, of which it takes the robust mean (docs/federated-privacy.md).
    """

    density: float = 0.05
    rounds: int = 30
    per_round: int = 10
    epochs: int = 1
    batch: int = 32
    learning_rate: float = 0.1
    candidates: int = 6
    interval: int = 2
    exchange: float = 0.3
    trim: float = 0.2
    norm_limit: float = 1.0
    timeout_s: float = 600.0
    clip: float = 0.0
    noise_multiplier: float = 0.0
    delta: float = 1e-5
    secure: bool = False
    minimum: int = 3
    groups: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        within = {
            "density": (0 < self.density <= 1, "above 0 and at most 1"),
            "rounds": (self.rounds >= 1, "at least 1"),
            "per_round": (self.per_round >= 1, "at least 1"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch": (self.batch >= 2, "at least 2"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "candidates": (self.candidates >= 1, "at least 1"),
            "interval": (self.interval >= 1, "at least 1"),
            "exchange": (0 <= self.exchange <= 1, "from 0 to 1"),
            "trim": (0 <= self.trim < 0.5, "from 0 to less than 0.5"),
            "norm_limit": (self.norm_limit >= 1, "at least 1"),
            "timeout_s": (self.timeout_s > 0, "above 0"),
            "clip": (self.clip > 0 or (self.clip == 0 and not self.secure), "above 0, or 0 where sums are not secure"),
            "noise_multiplier": (
                self.noise_multiplier == 0 or (self.noise_multiplier > 0 and self.clip > 0),
                "0, or above 0 with a clip above 0",
            ),
            "delta": (0 < self.delta < 1, "above 0 and below 1"),
            "minimum": (self.minimum >= 3, "at least 3: of the sum of two, each knows the other's part"),
            "groups": (self.groups >= 1, "at least 1"),
        }
        for name, (fits, expected) in within.items():
            if not fits:
                raise UsageError(
                    f"{name} is {getattr(self, name)}, expected {expected}",
                    hint=f"change {name.replace('_', '-')}",
                )

        if self.secure and self.per_round < self.minimum:
            raise UsageError(
                f"{self.per_round} clients a round are fewer than a secure sum of {self.minimum} needs",
                hint="raise per-round, or lower minimum",
            )

    @property
    def private(self) -> bool:
        """No client's own vector is known as it is: sums are secure, or noise is added."""
        return self.secure or self.noise_multiplier > 0

    def notes(self) -> list[str]:
        """What a reader of the result should know of its privacy."""
        notes = []
        if self.secure:
            notes.append(
                f"Sums are secure: the server knows the mean of each of up to {self.groups} groups of at least {self.minimum} "
                f"clients, never one client's update. The robust mean is taken over groups; a client cuts its own update to a "
                f"norm of {self.clip:g}."
            )
        if self.noise_multiplier:
            noised = "so that the sum of each group has" if self.secure else "each with"
            notes.append(
                f"Clients add noise to all that they send, {noised} a standard deviation of "
                f"{self.noise_multiplier * self.clip:g} in each number, and weigh the same."
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
