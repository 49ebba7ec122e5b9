"""What carries requests to clients and their answers back; a course needs no more of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What a client is asked for."""

    OFFER = "offer"
    """To take part: the network it will train."""
    STATISTICS = "statistics"
    """What flows into every normalisation layer, for each candidate."""
    VOTE = "vote"
    """The loss of each candidate."""
    TRAIN = "train"
    """A round of training, and where asked for the largest gradients of pruned weights before it."""
    KEYS = "keys"
    """Public keys for one secure sum."""
    SHARES = "shares"
    """Shares of the secrets behind them, sealed for each other client."""
    REVEAL = "reveal"
    """What takes the masks off the sum of those that are left."""


class Transport(Protocol):
    """Requests and answers are bytes. Clients that failed, or were late, are missing from what comes back; none of them raises."""

    def clients(self) -> Sequence[int]:
        """Those that can be reached now."""

    def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
        """The answers that came in time, by client."""
