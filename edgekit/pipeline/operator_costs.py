"""Where the time of a network goes, operator by operator, as a cost model has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgekit.core.operators import Operator
from edgekit.devices.cost_model import CostModel, work_of


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorCost:
    """One row of the table; `bytes_moved` are activations and weights read and written, `latency_ms` is predicted."""

    name: str
    kind: str
    kernel: int
    stride: int
    channels: int
    macs: int
    bytes_moved: int
    latency_ms: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KindCost:
    """All operators of one kind and kernel; `share` is that of the predicted latency without what every run costs."""

    kind: str
    operators: int
    macs: int
    latency_ms: float
    share: float


def operator_costs(operators: Iterable[Operator], cost_model: CostModel) -> tuple[OperatorCost, ...]:
    return tuple(_costs(operators, cost_model))


def kinds_of(costs: Iterable[OperatorCost]) -> tuple[KindCost, ...]:
    """What takes most time comes first."""
    groups: dict[str, list[OperatorCost]] = defaultdict(list)
    for cost in costs:
        has_kernel = cost.macs and cost.kernel > 1
        groups[f"{cost.kind}, kernel {cost.kernel}" if has_kernel else cost.kind].append(cost)
    kinds = [
        KindCost(
            kind=kind,
            operators=len(group),
            macs=sum(cost.macs for cost in group),
            latency_ms=sum(cost.latency_ms for cost in group),
            share=sum(cost.share for cost in group),
        )
        for kind, group in groups.items()
    ]
    return tuple(sorted(kinds, key=lambda kind: -kind.latency_ms))


def _costs(operators: Iterable[Operator], cost_model: CostModel) -> Iterator[OperatorCost]:
    priced = [(operator, cost_model.operator_ms(operator)) for operator in operators]
    total_ms = sum(latency_ms for _, latency_ms in priced) or 1.0
    for operator, latency_ms in priced:
        work = work_of(operator, cost_model.target.precision)
        yield OperatorCost(
            name=operator.name,
            kind=operator.kind,
            kernel=operator.kernel,
            stride=operator.stride,
            channels=operator.channels,
            macs=operator.macs,
            bytes_moved=round(1e6 * (work.activation_mbytes + work.weight_mbytes)),
            latency_ms=latency_ms,
            share=latency_ms / total_ms,
        )
