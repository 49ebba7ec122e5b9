"""What server and clients say to each other. Vectors are laid out as `Layout` says; masks are a bit a weight, deflated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """The network to train: a .pt2 program with the weights that all begin with, the labels of its outputs in order, and the
    preprocessing of pictures (`size`, `mean`, `std` in JSON)."""

    course: str
    network: bytes
    labels: tuple[str, ...]
    preprocessing: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolled:
    """A client takes part, and what it is called."""

    course: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Networks:
    """C masked networks to judge: packed masks one after another, and the vector of each. With `senders`, what a client finds goes
    into the secure sum `nonce` of these clients, in place of the answer."""

    course: str
    nonce: str
    masks: bytes
    vector_CV: NDArray[np.float32]
    senders: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Means, then variances of what flows into the normalisation layers, for each network."""

    course: str
    samples: int
    moments_CS: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The mean loss of each network on the client's samples."""

    course: str
    samples: int
    loss_C: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A round: whole passes over the client's samples from this network, once `counts` (by layer) of the largest gradients of
    pruned weights are taken at it. `nonce` names the request, so that no old answer can pass for a new one. What leaves the
    client is cut to a norm of `clip` and has noise of `noise_multiplier` times it; zero of either leaves it as it is. With
    `senders` it goes into the secure sum of these clients, by their numbers in the round; an `Update` is the answer else, or a
    `Release` with noise."""

    course: str
    number: int
    nonce: str
    mask: bytes
    vector_V: NDArray[np.float32]
    learning_rate: float
    epochs: int
    batch: int
    seed: int
    counts: Mapping[str, int]
    clip: float
    noise_multiplier: float
    senders: NDArray[np.int32]

    @property
    def private(self) -> bool:
        """Nobody may get to know the client's vector as it is."""
        return self.noise_multiplier > 0 or len(self.senders) > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """How far a client came: the difference of vectors (variances as second moments), the largest gradients of the layers asked
    for one after another, and what the round cost the client. `part` says which of the network it trained."""

    course: str
    number: int
    nonce: str
    mask_sha256: str
    samples: int
    loss: float
    part: str
    delta_V: NDArray[np.float32]
    index_A: NDArray[np.int32]
    value_A: NDArray[np.float32]
    macs: int
    peak_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """An update with noise: the difference of vectors, then the gradients at positions that all clients know; each part was
    cut and noised on its own."""

    course: str
    number: int
    nonce: str
    mask_sha256: str
    part: str
    vector_P: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeysWanted:
    """The client has the number `client` in the secure sum named `nonce`, for the round `number`."""

    course: str
    number: int
    nonce: str
    client: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """An `Advertisement`."""

    course: str
    nonce: str
    advertisement: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class SharesWanted:
    """By the clients of a `Cohort`."""

    course: str
    nonce: str
    cohort: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """One after another, sealed for the clients of the cohort in their order."""

    course: str
    nonce: str
    sealed: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Masked:
    """A client's part of a secure sum: integers modulo 2^32, of these masks."""

    course: str
    nonce: str
    mask_sha256: str
    masked_P: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True)
class RevealWanted:
    """Who is left, and what the senders sealed for this client, one after another in the order in which the request named them."""

    course: str
    nonce: str
    survivors: NDArray[np.int32]
    inbox: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Unmasking:
    """A `Revealed`."""

    course: str
    nonce: str
    revealed: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Declined:
    """A client leaves this request out, and why."""

    course: str
    reason: str
