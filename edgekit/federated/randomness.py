"""Where random bytes come from: unpredictable on a device, repeatable in a simulation, and never a hidden global."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

RandomBytes = Callable[[int], bytes]
"""So many random bytes: `secrets.token_bytes` on a device, `numpy.random.default_rng(seed).bytes` in a simulation."""

TAIL = 8.0
"""Standard deviations beyond which `gaussian` never is."""


def uniform(count: int, random_bytes: RandomBytes) -> NDArray[np.float64]:
    """In (0, 1), of 52 bits each, both ends excluded."""
    bits_P = np.frombuffer(random_bytes(8 * count), np.uint64) >> np.uint64(12)
    uniform_P: NDArray[np.float64] = (bits_P.astype(np.float64) + 0.5) * 2.0**-52
    return uniform_P


def gaussian(count: int, random_bytes: RandomBytes) -> NDArray[np.float64]:
    """Standard normal numbers, by inversion, so that they are as unpredictable as the bytes are."""
    normal_P: NDArray[np.float64] = ndtri(uniform(count, random_bytes))
    return np.clip(normal_P, -TAIL, TAIL)
