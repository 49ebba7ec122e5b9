"""What flows between the parts of a supernet: typed ports, checked where an assembly is described.

The idea is that of NeMo's neural types (arXiv 1909.09577): a part says what it takes and gives, and parts that do not fit are
refused with both types, long before a tensor flows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgekit.core.errors import BadInputError


class Layout(StrEnum):
    """Axes in order: N images, C channels, H x W positions, K outputs."""

    NCHW = "NCHW"
    NK = "NK"


class ValueRange(StrEnum):
    """Each member holds the ones before it."""

    UNIT = "in [0, 1]"
    NONNEGATIVE = "nonnegative"
    REAL = "real"

    def holds(self, other: ValueRange) -> bool:
        order = list(ValueRange)
        return order.index(other) <= order.index(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """The type of one tensor. `stride` is the distance of neighbouring positions in pixels of the image, 0 without positions."""

    layout: Layout
    channels: int
    values: ValueRange
    stride: int = 0

    def accepts(self, given: Port) -> bool:
        here, there = ((port.layout, port.channels, port.stride) for port in (self, given))
        return here == there and self.values.holds(given.values)

    def __str__(self) -> str:
        where = f" at stride {self.stride}" if self.stride else ""
        return f"{self.layout} {self.channels} channels {self.values}{where}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A stem, block or head with its two ports."""

    name: str
    takes: Port
    gives: Port


def check_joined(giver: Part, taker: Part) -> None:
    """Raises BadInputError where `taker` cannot read what `giver` gives."""
    if not taker.takes.accepts(giver.gives):
        raise BadInputError(
            f"{taker.name} takes {taker.takes}, but {giver.name} gives {giver.gives}",
            hint="make in_channels of each block the out_channels of the position before",
        )


def check_summed(one: Part, other: Part) -> None:
    """Raises BadInputError where what `other` gives cannot be added to what `one` gives."""
    if one.gives != other.gives:
        raise BadInputError(
            f"{other.name} gives {other.gives}, but {one.name}, beside which it stands, gives {one.gives}",
            hint="give blocks beside each other the same in_channels, out_channels and stride",
        )
