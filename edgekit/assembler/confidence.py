"""How sure a supernet's networks are against how often they are right: one factor on all logits makes the two agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from edgekit.core.errors import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """`sharpness` is the factor on logits, the inverse of a temperature (Guo et al., arXiv 1706.04599), that made `images` held out
    of training likeliest. Networks trained with smoothed labels are right more often than they claim: their factor is above 1.

    Where nothing was measured, `images` is 0 and the factor is 1.
    """

    sharpness: float = 1.0
    images: int = 0

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Self:
        """From a supernet's card; an older one knows nothing of it. Raises BadInputError."""
        if "confidence" not in card:
            return cls()
        try:
            sharpness, images = float(card["confidence"]["sharpness"]), int(card["confidence"]["images"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(
                f"the card's figures of confidence cannot be read: {error!r}", hint="restore the supernet's folder"
            ) from error
        if not (math.isfinite(sharpness) and sharpness > 0 and images >= 0):
            raise BadInputError(
                f"sharpness = {sharpness:g} of the card is not above 0", hint="restore the supernet's folder"
            )
        return cls(sharpness=sharpness, images=images)
