"""Structured pruning: whole channels go, and the layers are smaller for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from edgekit.core.errors import UsageError
from edgekit.passes.contract import Context, Needs, PassResult, Reduces, option

if TYPE_CHECKING:
    from edgekit.core.model import Model


class Importance(StrEnum):
    """What a channel is worth."""

    L1 = "l1"
    """The sum of absolute weights that write and read it."""
    L2 = "l2"
    BATCH_NORM = "batch_norm"
    """The scale of its normalisation."""
    TAYLOR = "taylor"
    """The squared change of the loss, to first order, when it is scaled to zero (arXiv 1906.10771)."""
    RECONSTRUCTION = "reconstruction"
    """What the layers that read it answer worse without it, after the best answer of the remaining channels."""


class Allocation(StrEnum):
    """Where channels go first to reach `macs_share`."""

    RANKING = "ranking"
    """Where they are worth least, relative to their layer, for a saved MAC."""
    MEASURED = "measured"
    """Where the network's loss, measured with each layer pruned alone, rises least for a predicted millisecond saved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneChannels:
    """Removes the least important channels together with all that writes, normalises and reads them."""

    id: ClassVar[str] = "prune::channels"
    summary: ClassVar[str] = "Removes whole channels, and refits the layers that read them."
    source: ClassVar[str] = "Fang et al., arXiv 2301.12900; He et al., arXiv 1707.06168; Hassibi and Stork, NIPS 1992"
    needs: ClassVar[Needs] = Needs.CALIBRATION
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.PARAMETERS, Reduces.BYTES, Reduces.MACS, Reduces.LATENCY)

    keep: float = option(
        0.5, help="share of each layer's channels that stay, where macs_share is 0", search=(0.75, 0.5)
    )
    macs_share: float = option(0.0, help="share of the original's MACs to come down to", search=(0.75, 0.5, 0.33))
    importance: Importance = option(  # noqa: RUF009 (as the fields above)
        Importance.RECONSTRUCTION, help="what a channel is worth", search=tuple(Importance)
    )
    allocation: Allocation = option(  # noqa: RUF009
        Allocation.RANKING, help="where channels go first, for macs_share", search=tuple(Allocation)
    )
    refit: bool = option(True, help="whether layers that read removed channels are refitted in closed form")
    multiple: int = option(8, help="that counts of channels are kept to", search=(8, 4))

    def __post_init__(self) -> None:
        if not (0 < self.keep <= 1 and 0 <= self.macs_share <= 1):
            raise UsageError(
                f"{self.id}: keep and macs_share must lie between 0 and 1", hint="see `edgekit passes show`"
            )
        if self.multiple < 1:
            raise UsageError(f"{self.id}: multiple must be at least 1", hint="8 suits kernels for Arm")

    def __call__(self, model: Model, context: Context) -> PassResult:
        """Raises ConversionError where macs_share cannot be reached."""
        from edgekit.passes.channel_pruning import prune

        return prune(model, context, self)
