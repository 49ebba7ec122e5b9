"""How sure a supernet's networks are against how often they are right, and which pictures they are sure of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Self

import numpy as np

from edgekit.assembler.judge import Genes, Judge, Values
from edgekit.core.errors import BadInputError

MOST_HAZE = 10.0
SURE = 1e-12
"""-ln t of a threshold that no network reaches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """`sharpness` is the factor on logits, the inverse of a temperature (Guo et al., arXiv 1706.04599), that made `images` held out
    of training likeliest. Networks trained with smoothed labels are right more often than they claim: their factor is above 1.

    Were a network as sure of each picture as it is likely to be right, it would reach the threshold t on pictures of a difficulty
    up to x = -ln t / s, s being the label's rate in the accuracy predictor. Of easy pictures among many labels it is less sure
    than that: it reaches t up to x exp(-`haze` / x). Where nothing was measured, `images` is 0, the factor 1 and the haze 0.
    """

    sharpness: float = 1.0
    haze: float = 0.0
    images: int = 0

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Self:
        """From a supernet's card; an older one knows nothing of it. Raises BadInputError."""
        if "confidence" not in card:
            return cls()
        try:
            found = cls(**card["confidence"])
            fits = found.sharpness > 0 and found.haze >= 0 and all(map(math.isfinite, astuple(found)))
        except TypeError as error:
            raise BadInputError(
                f"the card's figures of confidence cannot be read: {error}", hint="restore the supernet's folder"
            ) from error
        if not fits:
            raise BadInputError(
                f"the card's figures of confidence are out of range: {found}", hint="restore the supernet's folder"
            )
        return found

    def sure_share(self, judge: Judge, genes_PG: Genes, threshold: float, *, factor: float = 1.0) -> Values:
        """`share_P`: of the pictures, those that each network is predicted to be sure of, with all rates times `factor`."""
        from scipy.special import gammainc

        rates_PA, alpha_PA, weights_A = judge.difficulties(genes_PG)
        easiness_PA = np.maximum(-np.log(threshold), SURE) / (factor * rates_PA)
        hardest_PA = easiness_PA * np.exp(-self.haze / easiness_PA)
        easy: Values = gammainc(alpha_PA, alpha_PA * hardest_PA) @ weights_A
        return easy


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredShares:
    """`share_PT` of a task's pictures of which genotype p was found to be sure at threshold t."""

    judge: Judge
    genes_PG: Genes
    thresholds_T: Values
    share_PT: Values

    def error(self, confidence: Confidence) -> float:
        """The mean square of what is predicted beside it."""
        predicted_TP = [confidence.sure_share(self.judge, self.genes_PG, float(one)) for one in self.thresholds_T]
        return float(((np.stack(predicted_TP, axis=1) - self.share_PT) ** 2).mean())


def with_haze(confidence: Confidence, measured: Sequence[MeasuredShares]) -> Confidence:
    """The haze that brings predicted shares nearest to measured ones, by least squares."""
    from scipy.optimize import minimize_scalar

    def error(haze: float) -> float:
        return sum(one.error(replace(confidence, haze=float(haze))) for one in measured)

    return replace(confidence, haze=float(minimize_scalar(error, bounds=(0, MOST_HAZE), method="bounded").x))
