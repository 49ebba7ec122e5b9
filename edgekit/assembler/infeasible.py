"""What is said where no network keeps a budget, with the nearest that can be had."""

from __future__ import annotations

import math

from edgekit.assembler.assembly import Assembly
from edgekit.core.budget import Budget, Cost, Share
from edgekit.core.errors import InfeasibleError


def nothing_fits(budget: Budget, smallest: Assembly) -> InfeasibleError:
    """Not even the smallest network keeps the limits."""
    broken = ", ".join(
        f"{name} {getattr(budget, name):.6g} (the smallest network needs {_upwards(getattr(smallest.cost, name))})"
        for name in budget.broken_by(smallest.cost)
    )
    return InfeasibleError(
        f"no network fits: {broken}; the nearest feasible point has {_costs(smallest.cost)}, "
        f"predicted accuracy {smallest.accuracy:.2%}",
        hint="raise the limit named above",
    )


def floor_missed(budget: Budget, best: Assembly, beyond: Assembly | None) -> InfeasibleError:
    """`best`: the most accurate network inside the limits; `beyond`: the fastest without them that keeps the floor."""
    floor = budget.min_accuracy
    if isinstance(floor, Share):
        wanted = f"keep {floor} of the full supernet's accuracy"
        reached, nearest = (
            f"{best.sure_share:.2%} of it, {best.accuracy:.2%}",
            f"{_downwards(100 * best.sure_share, 2)}%",
        )
    else:
        wanted = f"reach {floor:.2%}"
        reached, nearest = f"{best.accuracy:.2%}", _downwards(best.accuracy, 4)
    inside = f"no network inside the limits is predicted to {wanted}: the best, {reached}, has {_costs(best.cost)}"
    hint = f"lower --min-accuracy to {nearest}"
    if budget == Budget(min_accuracy=floor):
        return InfeasibleError(inside, hint=hint)
    if beyond is None:
        return InfeasibleError(f"{inside}; none does without limits either", hint=hint)
    return InfeasibleError(
        f"{inside}; the fastest that reaches it has {_costs(beyond.cost)}", hint=f"{hint}, or raise the limits"
    )


def _upwards(value: float) -> str:
    """Six digits, rounded so that the figure is feasible as a limit."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 5)
    return f"{math.ceil(value / unit) * unit:.6g}"


def _downwards(value: float, digits: int) -> str:
    """Rounded so that the figure is feasible as a floor."""
    return f"{math.floor(value * 10**digits) / 10**digits:.{digits}f}"


def _costs(cost: Cost) -> str:
    return (
        f"latency_ms {cost.latency_ms:.4g}, size_bytes {cost.size_bytes:.0f}, "
        f"peak_ram_bytes {cost.peak_ram_bytes:.0f}, macs {cost.macs:.0f}"
    )
