"""How sure a supernet's networks are against how often they are right, and which pictures they are sure of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgekit.assembler.judge import Genes, Judge, Values
from edgekit.core.errors import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """`sharpness` is the factor on logits, the inverse of a temperature (Guo et al., arXiv 1706.04599), that made `images` held out
    of training likeliest. Networks trained with smoothed labels are right more often than they claim: their factor is above 1.

    A network reaches the threshold t on a picture of difficulty u where u <= (-ln t)^`steepness` / (`caution` s), s being the
    label's rate in the accuracy predictor. Were a network as sure of each picture as it is likely to be right, both would be 1.
    Where nothing was measured, `images` is 0 and all else is 1.
    """

    sharpness: float = 1.0
    caution: float = 1.0
    steepness: float = 1.0
    images: int = 0

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Self:
        """From a supernet's card; an older one knows nothing of it. Raises BadInputError."""
        if "confidence" not in card:
            return cls()
        try:
            found = cls(**card["confidence"])
            fits = all(math.isfinite(value) and value > 0 for value in asdict(found).values())
        except TypeError as error:
            raise BadInputError(
                f"the card's figures of confidence cannot be read: {error}", hint="restore the supernet's folder"
            ) from error
        if not fits:
            raise BadInputError(
                f"the card's figures of confidence are not all above 0: {found}", hint="restore the supernet's folder"
            )
        return found

    def sure_share(self, judge: Judge, genes_PG: Genes, threshold: float, *, factor: float = 1.0) -> Values:
        """`share_P`: of the pictures, those that each network is predicted to be sure of, with all rates times `factor`."""
        from scipy.special import gammainc

        rates_PA, alpha_PA, weights_A = judge.difficulties(genes_PG)
        hardest_PA = self._easiness(threshold) / (self.caution * factor * rates_PA)
        easy: Values = gammainc(alpha_PA, alpha_PA * hardest_PA) @ weights_A
        return easy

    def _easiness(self, threshold: float) -> float:
        return float(max(0.0, -np.log(threshold)) ** self.steepness)


def fitted_shares(
    judge: Judge, genes_PG: Genes, thresholds: NDArray[np.float64], share_PT: Values, *, sharpness: float, images: int
) -> Confidence:
    """With the caution and steepness that bring the predicted shares nearest the measured ones, by least squares."""
    from scipy.optimize import minimize

    def of(logs: Values) -> Confidence:
        caution, steepness = np.exp(logs).tolist()
        return Confidence(sharpness=sharpness, caution=caution, steepness=steepness, images=images)

    def error(logs: Values) -> float:
        predicted_TP = [of(logs).sure_share(judge, genes_PG, float(threshold)) for threshold in thresholds]
        return float(((np.stack(predicted_TP, axis=1) - share_PT) ** 2).sum())

    return of(minimize(error, np.zeros(2), method="Nelder-Mead").x)
