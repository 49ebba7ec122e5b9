"""What a count of successes says about the proportion behind it."""

from __future__ import annotations

import math

_Z = 1.959964  # the normal distribution's 97.5 % point


def wilson_interval(share: float, trials: float) -> tuple[float, float]:
    """The 95 % interval of a proportion of which `share` was seen in so many trials (E. B. Wilson, JASA 22, 1927).

    It stays inside [0, 1], holds `share`, and is right for few trials too, also where all or none succeeded.
    """
    centre = share + _Z**2 / (2 * trials)
    spread = _Z * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    scale = 1 + _Z**2 / trials
    return max(0.0, min(share, (centre - spread) / scale)), min(1.0, max(share, (centre + spread) / scale))
