"""How many channels each layer keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from edgekit.core.errors import ConversionError
from edgekit.passes.channel_groups import ChannelGroup, Work


def evenly(groups: tuple[ChannelGroup, ...], keep: float, multiple: int) -> dict[str, int]:
    """The nearest multiple of the wanted share of each; layers of fewer channels than one multiple keep all."""
    kept = {}
    for group in groups:
        wanted = max(1, round(keep * group.channels / multiple)) * multiple
        kept[group.root] = min(wanted, group.channels)
    return kept


def down_to(
    macs: float,
    work: Work,
    multiple: int,
    lost: Callable[[str, int], float],
    saved: Callable[[Mapping[str, int], str, int], float],
) -> dict[str, int]:
    """Greedily to at most so many MACs, each time the channels that cost least for what they save.

    `lost(root, kept)` is what is lost with so many kept, `saved(kept, root, fewer)` what one more step from `kept` saves. Raises
    ConversionError where the least of every layer is still more.
    """
    kept = {group.root: group.channels for group in work.groups}
    while work.total(kept) > macs:
        steps = {root: _fewer(now, multiple) for root, now in kept.items()}
        steps = {root: fewer for root, fewer in steps.items() if fewer}
        if not steps:
            raise ConversionError(
                f"pruning channels cannot go below {work.total(kept) / 1e6:.2f} million MACs, and "
                f"{macs / 1e6:.2f} million are asked for",
                hint="set a greater macs_share, or a smaller multiple",
            )
        now = dict(kept)

        def price(root: str) -> float:
            loss = lost(root, steps[root]) - lost(root, now[root])  # noqa: B023
            return loss / max(saved(now, root, steps[root]), 1e-12)  # noqa: B023

        cheapest = min(steps, key=price)
        kept[cheapest] = steps[cheapest]
    return _given_back(macs, work, multiple, lost, kept)


def _given_back(
    macs: float, work: Work, multiple: int, lost: Callable[[str, int], float], kept: dict[str, int]
) -> dict[str, int]:
    """The last step saves more than was asked: what still fits comes back, the most valuable first."""
    channels = {group.root: group.channels for group in work.groups}
    more = {root: min(now + multiple - now % multiple, channels[root]) for root, now in kept.items()}
    for root in sorted(kept, key=lambda root: lost(root, more[root]) - lost(root, kept[root])):
        if work.total({**kept, root: more[root]}) <= macs:
            kept = {**kept, root: more[root]}
    return kept


def levels(channels: int, multiple: int, number: int = 4) -> tuple[int, ...]:
    """Counts to try, evenly spread down to the least."""
    every = list(range(multiple, channels, multiple))
    step = max(1, math.ceil(len(every) / number))
    return tuple(reversed(every[::step]))


def interpolated(points: Mapping[int, float], at: int) -> float:
    """Linear between the points, which reach over `at`."""
    below, above = max(x for x in points if x <= at), min(x for x in points if x >= at)
    if below == above:
        return points[below]
    share = (at - below) / (above - below)
    return (1 - share) * points[below] + share * points[above]


def _fewer(channels: int, multiple: int) -> int:
    """The next count down; 0 where there is none."""
    return (channels - 1) // multiple * multiple
