"""prune::fedtiny: few weights anywhere in the network, chosen by local data and exchanged while the rest learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgekit.core.errors import UsageError
from edgekit.passes.contract import Context, Needs, PassResult, Reduces, option

if TYPE_CHECKING:
    from edgekit.core.model import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class FedTiny:
    """FedTiny in one process: candidates, a vote of the clients, then masked training with an exchange of weights between rounds.

    Raises UsageError for options outside their range and for a density that empties a layer, ConversionError for a model
    without convolutions or linear layers.
    """

    id: ClassVar[str] = "prune::fedtiny"
    summary: ClassVar[str] = (
        "Keeps a small share of single weights: a mask is voted for by local data, then improved while the rest is trained."
    )
    source: ClassVar[str] = "FedTiny, arXiv 2212.01977"
    needs: ClassVar[Needs] = Needs.TRAINING
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.PARAMETERS,)

    density: float = option(
        0.1, help="kept share of the weights of convolutions and linear layers", search=(0.5, 0.2, 0.1, 0.05, 0.02)
    )
    candidates: int = option(16, help="masks to choose from; 1 takes one ranking by synaptic flow without a vote")
    clients: int = option(1, help="parts that the training samples are split into, each trained apart and averaged")
    epochs: float = option(10.0, help="passes of each client over its samples", search=(5.0, 10.0, 30.0))
    batch: int = option(64, help="samples of a mini-batch")
    learning_rate: float = option(0.1, help="the highest; it rises at first and falls as a cosine")
    adjustments: int = option(24, help="exchanges of weights, spread over the first three quarters of the training")
    exchange: float = option(0.3, help="share of a unit's kept weights that the first exchange replaces")

    def __post_init__(self) -> None:
        within = {
            "density": (0 < self.density <= 1, "above 0 and at most 1"),
            "candidates": (self.candidates >= 1, "at least 1"),
            "clients": (self.clients >= 1, "at least 1"),
            "epochs": (0 <= self.epochs < math.inf, "at least 0"),
            "batch": (self.batch >= 2, "at least 2"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "adjustments": (self.adjustments >= 0, "at least 0"),
            "exchange": (0 <= self.exchange <= 1, "from 0 to 1"),
        }
        for name, (fits, expected) in within.items():
            if not fits:
                raise UsageError(
                    f"{self.id}: {name} = {getattr(self, name)}, expected {expected}", hint=f"change {name} of the pass"
                )

    def __call__(self, model: Model, context: Context) -> PassResult:
        from edgekit.passes.fedtiny_rounds import pruned

        return pruned(self, model, context)
