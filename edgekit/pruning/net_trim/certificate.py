"""Whether weights keep the constraints of the program: computed from samples and weights alone, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from edgekit.pruning.net_trim.samples import Samples

RATIO_LIMIT: Final = 1.001
EXCESS_LIMIT: Final = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """`error` = ||(X u - target)_on||_F and `excess` = ||max(X u - bound, 0)_off||_F, against `eps`.

    `output_norm` is ||targets||_F, that of the layer's outputs.
    """

    eps: float
    error: float
    excess: float
    output_norm: float

    @property
    def ratio(self) -> float:
        """Achieved over allowed."""
        return self.error / self.eps if self.eps else math.inf if self.error else 0.0

    @property
    def relative_excess(self) -> float:
        return self.excess / self.output_norm if self.output_norm else math.inf if self.excess else 0.0

    @property
    def output_ratio(self) -> float:
        """Both together over eps: with a bound of 0 that is the most by which the outputs after ReLU are off."""
        both = math.hypot(self.error, self.excess)
        return both / self.eps if self.eps else math.inf if both else 0.0

    @property
    def holds(self) -> bool:
        """The ratio is at most 1.001, the excess at most a thousandth of the outputs; NaN holds nothing."""
        return self.ratio <= RATIO_LIMIT and self.relative_excess <= EXCESS_LIMIT


def certify(samples: Samples, u_NM: Tensor, eps: float) -> Certificate:
    error = excess = 0.0
    u_NM = u_NM.double()
    for block in samples:
        over_PM = block.x_PN.double() @ u_NM - block.bound_PM
        square_PM = over_PM.square()
        error += float((square_PM * block.on_PM).sum())
        excess += float((square_PM * (over_PM > 0) * ~block.on_PM).sum())
    return Certificate(eps=eps, error=error**0.5, excess=excess**0.5, output_norm=samples.on_norm)
