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
    update may have. An answer later than `timeout_s` is not waited for. With `noise_multiplier` clients cut their update to a
    norm of `clip` and add noise (docs/federated.md).
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
    norm_limit: float = 2.0
    timeout_s: float = 600.0
    clip: float = 0.0
    noise_multiplier: float = 0.0
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
            "clip": (self.clip >= 0, "at least 0"),
            "noise_multiplier": (self.noise_multiplier == 0 or self.clip > 0, "0 where clip is 0"),
        }
        for name, (fits, expected) in within.items():
            if not fits:
                raise UsageError(
                    f"{name} is {getattr(self, name)}, expected {expected}",
                    hint=f"change {name.replace('_', '-')}",
                )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
