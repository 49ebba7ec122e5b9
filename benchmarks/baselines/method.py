"""What a method that needs no training is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgekit.assembler.costs import CostTables
from edgekit.core.budget import Budget
from edgekit.supernet.genotype import Genotype
from edgekit.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A task, its limits in absolute figures, and what every genotype costs; `seed` of whatever is drawn at random."""

    task: Task
    budget: Budget
    tables: CostTables
    seed: int


class Method(Protocol):
    @property
    def name(self) -> str: ...

    def choose(self, problem: Problem, /) -> Genotype:
        """A genotype inside the limits; the smallest network must keep them."""
        ...
