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
    """A client takes part: what it is called, and how many samples it has."""

    course: str
    name: str
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Networks:
    """C masked networks to judge: packed masks one after another, and the vector of each."""

    course: str
    masks: bytes
    vector_CV: NDArray[np.float32]


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
    pruned weights are taken at it. `nonce` names the request, so that no old answer can pass for a new one. The update is cut
    to a norm of `clip`, and has Gaussian noise of the standard deviation `noise`; zero of either leaves it as it is."""

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
    noise: float


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
class Declined:
    """A client leaves this request out, and why."""

    course: str
    reason: str
