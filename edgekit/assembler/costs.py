"""What every genotype of a supernet costs on one target, for one task, as tables over (block, number of open bricks).

Exact, not fitted: latency, size and MACs are sums over operators, and the memory of a chain of blocks peaks inside one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edgekit.core.budget import Budget, Cost
from edgekit.core.operators import Operator, Tensor
from edgekit.supernet.description import block_operators, describe, head_operators, stem_operator
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task

CostOf = Callable[[Sequence[Operator]], Cost]


@dataclass(frozen=True, kw_only=True, slots=True)
class CostTables:
    """`fixed`: the smallest parts every subnet has. `latency_ms[b, n]` and so on: what block b adds with n open bricks.

    `peak_ram_bytes[b, n]` is the memory while block b runs. `full` is the cost of the full supernet with this task's head.
    """

    fixed: Cost
    latency_ms: NDArray[np.float64]
    size_bytes: NDArray[np.float64]
    peak_ram_bytes: NDArray[np.float64]
    macs: NDArray[np.float64]
    full: Cost

    @classmethod
    def of(cls, spec: SupernetSpec, task: Task, cost_of: CostOf) -> CostTables:
        """`cost_of` prices a list of operators on the target; it must be additive but for memory, which must be a peak."""
        outputs = len(task.grouping(spec.labels))
        grouped = task.needs_all_labels
        empty = cost_of([])
        bricks = max(block.bricks for block in spec.blocks)
        tables = {field.name: np.zeros((len(spec.blocks), bricks + 1)) for field in fields(Cost)}
        size = spec.image_size // 2
        for index, block in enumerate(spec.blocks):
            x = Tensor(name="x", elements=block.in_channels * size**2)
            for count in range(1, block.bricks + 1):
                cost = cost_of(block_operators("block", block, count, x, size))
                for name, table in tables.items():
                    constant = 0.0 if name == "peak_ram_bytes" else getattr(empty, name)
                    table[index, count] = getattr(cost, name) - constant
            size //= block.stride
        y = Tensor(name="y", elements=spec.features * size**2)
        head = head_operators(spec, y, outputs=outputs, grouped=grouped)
        fixed = _total([cost_of([stem_operator(spec)]), cost_of(head)], empty)
        full = cost_of(describe(spec, spec.full, outputs=outputs, grouped=grouped))
        return cls(fixed=fixed, full=full, **tables)

    def of_counts(self, counts_PB: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Each cost of P genotypes, by name."""
        blocks = np.arange(counts_PB.shape[1])
        costs = {
            name: getattr(self.fixed, name) + getattr(self, name)[blocks, counts_PB].sum(1)
            for name in ("latency_ms", "size_bytes", "macs")
        }
        peaks = self.peak_ram_bytes[blocks, counts_PB].max(1)
        return costs | {"peak_ram_bytes": np.maximum(self.fixed.peak_ram_bytes, peaks)}

    def cost(self, counts: Sequence[int]) -> Cost:
        return Cost(**{name: float(values[0]) for name, values in self.of_counts(np.array([counts])).items()})

    def within(self, counts_PB: NDArray[np.int64], budget: Budget) -> NDArray[np.bool_]:
        """Which genotypes keep all limits of a resolved budget."""
        kept = np.ones(len(counts_PB), bool)
        for name, values in self.of_counts(counts_PB).items():
            limit = getattr(budget, name)
            if limit is not None:
                kept &= values <= limit
        return kept


def _total(parts: Sequence[Cost], empty: Cost) -> Cost:
    def added(name: str) -> float:
        constant: float = getattr(empty, name)
        total: float = constant + sum(getattr(part, name) - constant for part in parts)
        return total

    return Cost(
        latency_ms=added("latency_ms"),
        size_bytes=added("size_bytes"),
        peak_ram_bytes=max(part.peak_ram_bytes for part in parts),
        macs=added("macs"),
    )
