"""How far predicted accuracies may be from the truth: what conformal prediction found on what the fit had not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError

CONFIDENCE: Final = 0.9

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """`quantile` times the expected error, `sqrt(systematic^2 + per_image x v)`.

    v is the variance that the same figure would have if it were measured on one image of each label; so the predictor is about
    as good as 1 / `per_image` images a label, but never better than `systematic`.
    """

    systematic: float
    per_image: float
    quantile: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"{name} = {value!r} must be a number of at least 0")

    def of(self, variance_P: Values) -> Values:
        margins: Values = self.quantile * np.sqrt(self.systematic**2 + self.per_image * variance_P)
        return margins


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncertainty:
    """`accuracy`: of both sides of a predicted accuracy. `share`: what to take off the predicted share of the full supernet's
    accuracy, so that CONFIDENCE of the networks keep the rest."""

    accuracy: Margin
    share: Margin

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Uncertainty:
        """From a supernet's card. An older one knows 90 % of the errors on unseen genotypes, and nothing of shares: these are
        then taken as predicted. Raises BadInputError."""
        try:
            table = card["predictor"]
            if "accuracy_margin" in table:
                return cls(accuracy=Margin(**table["accuracy_margin"]), share=Margin(**table["share_margin"]))
            error = float(table["p90_absolute_error"])
            nothing = Margin(systematic=0.0, per_image=0.0, quantile=0.0)
            return cls(accuracy=Margin(systematic=error, per_image=0.0, quantile=1.0), share=nothing)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(
                f"the card's figures of the accuracy predictor cannot be read: {error!r}",
                hint="restore the supernet's folder",
            ) from error
