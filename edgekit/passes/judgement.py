"""What a model is worth on some inputs: by their labels, or by the answers of the original."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.fidelity import Outputs, is_classifier, reproduced
from edgekit.core.proportion import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

ACCURACY, AGREEMENT, REPRODUCED = "accuracy", "agreement", "variance reproduced"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """`value` is a fraction: accuracy where there are labels, agreement with the original's greatest output where there are none,
    and for outputs that name no class the share of the original's variance that is reproduced. `interval` is that of 95 %."""

    kind: str
    value: float
    interval: tuple[float, float]
    inputs: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.kind} {self.value:.4f} ({low:.4f} to {high:.4f}, {self.inputs} inputs)"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "value": self.value, "interval": list(self.interval), "inputs": self.inputs}


def judge(outputs_N: Outputs, reference_N: Outputs, labels_N: NDArray[np.int64] | None) -> Judgement:
    """Outputs (N, ...) of a model beside those of the original and, for N x K outputs, the labels."""
    if not is_classifier(outputs_N):
        return _reproduced(outputs_N, reference_N)
    wanted_N = reference_N.argmax(1) if labels_N is None else labels_N
    right = int((outputs_N.argmax(1) == wanted_N).sum())
    return Judgement(
        kind=AGREEMENT if labels_N is None else ACCURACY,
        value=right / len(outputs_N),
        interval=wilson_interval(right / len(outputs_N), len(outputs_N)),
        inputs=len(outputs_N),
    )


def _reproduced(outputs_N: Outputs, reference_N: Outputs) -> Judgement:
    """The interval is that of the mean error over the inputs, each taken as one draw."""
    value = reproduced(outputs_N, reference_N)
    number = len(outputs_N)
    errors_N = ((outputs_N - reference_N.astype(np.float64)) ** 2).reshape(number, -1).sum(1)
    mean = float(errors_N.mean())
    spread = 1.96 * float(errors_N.std(ddof=1)) / math.sqrt(number) / mean if number > 1 and mean > 0 else 0.0
    reach = spread * (1 - value)
    return Judgement(kind=REPRODUCED, value=value, interval=(value - reach, min(1.0, value + reach)), inputs=number)
