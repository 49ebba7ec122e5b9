"""`prune::net_trim`: each layer's sparsest weights that keep its outputs, by convex optimisation, with a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from edgekit.core.errors import UsageError
from edgekit.passes.contract import Needs, PassResult, Reduces, option

if TYPE_CHECKING:
    from edgekit.core.model import Model
    from edgekit.passes.contract import Context


class Mode(StrEnum):
    PARALLEL = "parallel"
    """Every layer on the original network's activations."""
    CASCADE = "cascade"
    """Every layer on the activations of the layers already pruned, with the original's outputs as its target."""


class Spread(StrEnum):
    UNIFORM = "uniform"
    """As many in every layer."""
    ERK = "erk"
    """Fewer in small layers: Erdős–Rényi-Kernel (arXiv 1911.11134)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetTrim:
    id: ClassVar[str] = "prune::net_trim"
    summary: ClassVar[str] = (
        "Sets weights of convolutions and linear layers to zero, and certifies what each layer's outputs lose."
    )
    source: ClassVar[str] = (
        "A. Aghasi, A. Abdi, J. Romberg, Fast Convex Pruning of Deep Neural Networks, arXiv 1806.06457"
    )
    needs: ClassVar[Needs] = Needs.CALIBRATION
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.PARAMETERS,)

    mode: Mode = option(  # noqa: RUF009 (it is a field)
        Mode.CASCADE, help="which activations a layer is solved on", search=tuple(Mode)
    )
    gain: float = option(
        0.1,
        help="most a layer's outputs may be off, relative to their norm; not used with a sparsity",
        search=(0.02, 0.05, 0.1, 0.2),
    )
    sparsity: float | None = option(
        None, help="share of zeros, 0 to 1, in place of a gain", search=(0.5, 0.7, 0.8, 0.9)
    )
    spread: Spread = option(  # noqa: RUF009 (it is a field)
        Spread.UNIFORM, help="how the zeros of a sparsity are shared out among the layers", search=tuple(Spread)
    )
    samples: int = option(6000, help="pixels or vectors that a layer is solved on")
    images: int = option(1000, help="calibration inputs that they are taken from")
    reweightings: int = option(
        2,
        help="programs solved in a row, each with a norm weighted by the last solution; 0: the paper's norm",
        search=(0, 2),
    )
    refit: bool = option(True, help="least squares on the weights that are left")
    recalibrate: bool = option(True, help="measure the statistics of normalisation layers again", search=(False, True))

    def __call__(self, model: Model, context: Context) -> PassResult:
        self._check()
        from edgekit.passes.net_trim_network import trim_network

        return trim_network(model, context, self)

    def _check(self) -> None:
        def refuse(name: str, expected: str) -> None:
            raise UsageError(
                f"{self.id}: {name} is {getattr(self, name)}, expected {expected}",
                hint="see `edgekit passes show prune::net_trim`",
            )

        if not 0 < self.gain < 1:
            refuse("gain", "a number between 0 and 1")
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            refuse("sparsity", "a number between 0 and 1")
        for name in ("samples", "images"):
            if getattr(self, name) < 1:
                refuse(name, "1 or more")
        if self.reweightings < 0:
            refuse("reweightings", "0 or more")
