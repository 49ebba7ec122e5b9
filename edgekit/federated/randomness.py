"""Where random bytes come from: unpredictable on a device, repeatable in a simulation, and never a hidden global."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

RandomBytes = Callable[[int], bytes]
"""So many random bytes: `secrets.token_bytes` on a device, `numpy.random.default_rng(seed).bytes` in a simulation."""

RandomAt = Callable[[int, str], RandomBytes]
"""The source for a purpose in a round: a simulation that goes on after a break draws the same again."""

TAIL = 8.0
"""Standard deviations beyond which `gaussian` never is."""


def unpredictable(_number: int, _purpose: str) -> RandomBytes:
    return secrets.token_bytes


def repeatable(*path: int | str) -> RandomBytes:
    """The same bytes for the same path: of a simulation, as whoever knows the path knows them."""
    return np.random.default_rng(list(sha256(repr(path).encode()).digest())).bytes


def uniform(count: int, random_bytes: RandomBytes) -> NDArray[np.float64]:
    """In (0, 1), of 52 bits each, both ends excluded."""
    bits_P = np.frombuffer(random_bytes(8 * count), np.uint64) >> np.uint64(12)
    uniform_P: NDArray[np.float64] = (bits_P.astype(np.float64) + 0.5) * 2.0**-52
    return uniform_P


def gaussian(count: int, random_bytes: RandomBytes) -> NDArray[np.float64]:
    """Standard normal numbers, by inversion, so that they are as unpredictable as the bytes are."""
    from scipy.special import ndtri

    normal_P: NDArray[np.float64] = ndtri(uniform(count, random_bytes))
    return np.clip(normal_P, -TAIL, TAIL)
