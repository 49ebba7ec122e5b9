"""What a change of a model costs, in points: of accuracy where the labels are known, else of what the original answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.fidelity import Outputs, is_classifier, reproduced
from edgekit.core.proportion import wilson_interval

_RESAMPLES = 1000


class Measure(StrEnum):
    ACCURACY = "accuracy"
    AGREEMENT = "top-1 agreement with the original"
    REPRODUCED = "share of the original's variance reproduced"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """`value` of a measure with its 95 % interval over so many samples; 1 is the best there is."""

    measure: Measure
    value: float
    interval: tuple[float, float]
    samples: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.measure} {self.value:.2%} (95 %: {low:.2%} to {high:.2%}, {self.samples} samples)"

    def to_json(self) -> dict[str, Any]:
        return {
            "measure": self.measure.value,
            "value": self.value,
            "interval": list(self.interval),
            "samples": self.samples,
        }


def judge(outputs_N: Outputs, reference_N: Outputs, y_N: npt.NDArray[np.int64] | None = None) -> Judgement:
    """Of outputs (N, ...) against the original's, and against labels where they are known.

    Accuracy needs labels and outputs N x K, K at least 2; without labels the same outputs are judged by how often the top one is
    the original's. Both have Wilson's interval. Any other outputs are judged by `edgekit.core.fidelity.reproduced`, its interval by
    the bootstrap over samples.
    """
    if not is_classifier(reference_N):
        return Judgement(
            measure=Measure.REPRODUCED,
            value=reproduced(outputs_N, reference_N),
            interval=_bootstrapped(outputs_N, reference_N),
            samples=len(reference_N),
        )
    wanted_N = reference_N.argmax(axis=1) if y_N is None else y_N
    share = float(np.mean(outputs_N.argmax(axis=1) == wanted_N))
    return Judgement(
        measure=Measure.AGREEMENT if y_N is None else Measure.ACCURACY,
        value=share,
        interval=wilson_interval(share, len(wanted_N)),
        samples=len(wanted_N),
    )


def points_lost(now: Judgement, before: Judgement) -> float:
    """Percentage points, rounded where floating point would make 1.0000000001 of one; negative where it is better than before."""
    return round(100 * (before.value - now.value), 9)


def _bootstrapped(outputs_N: Outputs, reference_N: Outputs) -> tuple[float, float]:
    """Samples drawn again with repetition: error and variance are sums over samples, so no output is computed anew."""
    value = reproduced(outputs_N, reference_N)
    wide = reference_N.astype(np.float64)
    around = wide - wide.mean(axis=0)
    others = tuple(range(1, wide.ndim))
    error_N = np.sum((outputs_N - wide) ** 2, axis=others)
    variance_N = np.sum((around if around.any() else wide) ** 2, axis=others)
    drawn = np.random.default_rng(0).integers(len(wide), size=(_RESAMPLES, len(wide)))
    shares = 1 - error_N[drawn].sum(axis=1) / np.maximum(variance_N[drawn].sum(axis=1), 1e-30)
    low, high = np.quantile(shares, [0.025, 0.975])
    return min(value, float(low)), max(value, float(high))
