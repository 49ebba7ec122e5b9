"""What an assembler answers."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.core.budget import Cost
from edgekit.supernet.genotype import Genotype


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembly:
    """A genotype with what it is predicted to reach and to cost on the target.

    `interval` holds the true accuracy nine times out of ten; with the same certainty the network keeps `sure_share` of the
    full supernet's accuracy on the task.
    """

    genotype: Genotype
    accuracy: float
    interval: tuple[float, float]
    sure_share: float
    cost: Cost
