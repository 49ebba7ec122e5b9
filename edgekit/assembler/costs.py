"""What every genotype of a supernet costs on one target, for one task: tables over (image size, block, open bricks).

Exact, not fitted: latency, size and MACs are sums over operators, and the memory of a chain of blocks peaks inside one of them.
Only the memory of blocks beside each other may be stated too high, where some of them are closed; never too low.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from edgekit.core.budget import Budget, Cost
from edgekit.core.operators import Operator, Tensor
from edgekit.supernet.description import block_operators, describe, head_operators, position_operators, stem_operator
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task

CostOf = Callable[[Sequence[Operator]], Cost]


@dataclass(frozen=True, kw_only=True, slots=True)
class CostTables:
    """`fixed[s]`: what every subnet of image size s has. `latency_ms[s, b, n]` and so on: what block b adds with n open bricks.

    `peak_ram_bytes[s, b, n]` is the memory while block b runs. `full` is the cost of the full supernet with this task's head.
    """

    fixed: tuple[Cost, ...]
    latency_ms: NDArray[np.float64]
    size_bytes: NDArray[np.float64]
    peak_ram_bytes: NDArray[np.float64]
    macs: NDArray[np.float64]
    full: Cost

    @classmethod
    def of(cls, spec: SupernetSpec, task: Task, cost_of: CostOf) -> CostTables:
        """`cost_of` prices a list of operators on the target; it must be additive but for memory, which must be a peak."""
        rows = len(task.head_rows(spec.labels))
        empty = cost_of([])
        bricks = max(block.bricks for block in spec.blocks)
        tables = {field.name: np.zeros((len(spec.image_sizes), len(spec.blocks), bricks + 1)) for field in fields(Cost)}
        fixed = []
        for image_size_index, image_size in enumerate(spec.image_sizes):
            size = image_size // 2
            for position in spec.positions:
                for index in position:
                    for count in range(1, spec.blocks[index].bricks + 1):
                        cost = _block_cost(spec, position, index, count, size, cost_of)
                        for name, table in tables.items():
                            constant = 0.0 if name == "peak_ram_bytes" else getattr(empty, name)
                            table[image_size_index, index, count] = getattr(cost, name) - constant
                size //= spec.blocks[position[0]].stride
            y = Tensor(name="y", elements=spec.features * size**2)
            head = head_operators(spec, y, rows=rows, sums=task.sums)
            fixed.append(_total([cost_of([stem_operator(spec, image_size)]), cost_of(head)], empty))
        full = cost_of(describe(spec, spec.full, rows=rows, sums=task.sums))
        return cls(fixed=tuple(fixed), full=full, **tables)

    def of_genes(self, genes_PG: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Each cost of P genotypes, by name."""
        sizes_P1, counts_PB = genes_PG[:, :1], genes_PG[:, 1:]
        blocks = np.arange(counts_PB.shape[1])
        costs = {}
        for name in ("latency_ms", "size_bytes", "macs"):
            fixed = np.array([getattr(cost, name) for cost in self.fixed])
            costs[name] = fixed[genes_PG[:, 0]] + getattr(self, name)[sizes_P1, blocks, counts_PB].sum(1)
        fixed = np.array([cost.peak_ram_bytes for cost in self.fixed])
        peaks = self.peak_ram_bytes[sizes_P1, blocks, counts_PB].max(1)
        return costs | {"peak_ram_bytes": np.maximum(fixed[genes_PG[:, 0]], peaks)}

    def cost(self, genes: Sequence[int]) -> Cost:
        return Cost(**{name: float(values[0]) for name, values in self.of_genes(np.array([genes])).items()})

    def within(self, genes_PG: NDArray[np.int64], budget: Budget) -> NDArray[np.bool_]:
        """Which genotypes keep all limits of a resolved budget."""
        kept = np.ones(len(genes_PG), bool)
        for name, values in self.of_genes(genes_PG).items():
            limit = getattr(budget, name)
            if limit is not None:
                kept &= values <= limit
        return kept


def _block_cost(
    spec: SupernetSpec, position: Sequence[int], index: int, count: int, size: int, cost_of: CostOf
) -> Cost:
    """Of a block with `count` open bricks on a `size` x `size` input; the memory is that of its whole position, with one brick
    open in each block beside it."""
    block = spec.blocks[index]
    x = Tensor(name="x", elements=block.in_channels * size**2)
    cost = cost_of(block_operators("block", block, count, x, size))
    if len(position) == 1:
        return cost
    counts = [count if other == index else 1 for other in range(len(spec.blocks))]
    peak = cost_of(position_operators(spec, position, counts, x, size)).peak_ram_bytes
    return replace(cost, peak_ram_bytes=peak)


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
