"""From a task and a budget to a genotype, or to the whole front, with what each is predicted to cost; nothing is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from edgekit.core.budget import Budget
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.pipeline.figures import price
from edgekit.pipeline.plan import BuildPlan, plan
from edgekit.pipeline.points import Point, point_of
from edgekit.pipeline.result import REPORT_SCHEMA
from edgekit.tasks.task import Task

if TYPE_CHECKING:
    from edgekit.assembler.assembler import Assembler
    from edgekit.assembler.assembly import Assembly
    from edgekit.assembler.costs import CostTables

MAX_ROWS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """`at_once` is the archive's answer, None where it has none that keeps the floor; `refined` what the search made of it.

    `seconds` are those of each, the supernet being loaded: prices, archive, search.
    """

    plan: BuildPlan
    at_once: Point | None
    refined: Point
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": REPORT_SCHEMA,
            "plan": self.plan.to_json(),
            **self.refined.to_json(),
            "at_once": self.at_once.to_json() if self.at_once else None,
            "seconds": {name: round(seconds, 4) for name, seconds in self.seconds.items()},
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """All networks of the front, the fastest first, and `rows`: MAX_ROWS of them at most, spread over it."""

    plan: BuildPlan
    points: tuple[Point, ...]
    rows: tuple[Point, ...]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": REPORT_SCHEMA,
            "plan": self.plan.to_json(),
            "front": [point.to_json() for point in self.points],
            "seconds": {name: round(seconds, 4) for name, seconds in self.seconds.items()},
        }


def assemble(
    *,
    task: str,
    target: str = "rpi4",
    budget: Budget | None = None,
    model: str | Path = "signs43",
    presence: bool = False,
    grouped: bool = False,
    other: bool = False,
    seed: int = 0,
) -> Assembled:
    """The network that `edgekit.build` would build, without building it.

    Raises UsageError, BadInputError, and InfeasibleError with the nearest feasible points.
    """
    asked = {"presence": presence, "grouped": grouped, "other": other}
    desk = _Desk.of(task=task, target=target, budget=budget, model=model, seed=seed, **asked)
    planned, searcher = desk.plan, desk.assembler.searcher
    started = perf_counter()
    at_once = searcher.at_once(desk.task, planned.budget, desk.tables)
    recalled = perf_counter()
    refined = searcher.search(desk.task, planned.budget, desk.tables, seed=planned.seed)
    searched = perf_counter()
    return Assembled(
        plan=planned,
        at_once=desk.point(at_once) if at_once else None,
        refined=desk.point(refined),
        seconds={"prices": desk.pricing_s, "archive": recalled - started, "search": searched - recalled},
    )


def front(
    *,
    task: str,
    target: str = "rpi4",
    budget: Budget | None = None,
    model: str | Path = "signs43",
    presence: bool = False,
    grouped: bool = False,
    other: bool = False,
    seed: int = 0,
) -> Front:
    """The networks inside the budget that none beats in accuracy, latency, size and memory at once. Raises as `assemble` does."""
    from edgekit.assembler.front import find_front, spread

    asked = {"presence": presence, "grouped": grouped, "other": other}
    desk = _Desk.of(task=task, target=target, budget=budget, model=model, seed=seed, **asked)
    planned = desk.plan
    started = perf_counter()
    found = find_front(desk.assembler.searcher, desk.task, planned.budget, desk.tables, seed=planned.seed)
    seconds = {"prices": desk.pricing_s, "front": perf_counter() - started}
    points = {assembly: desk.point(assembly) for assembly in found}
    return Front(
        plan=planned,
        points=tuple(points.values()),
        rows=tuple(points[assembly] for assembly in spread(found, MAX_ROWS)),
        seconds=seconds,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Desk:
    """Everything at hand to answer one question."""

    plan: BuildPlan
    task: Task
    cost_model: CostModel
    assembler: Assembler
    tables: CostTables
    pricing_s: float

    @classmethod
    def of(cls, *, task: str, model: str | Path, **inputs: Any) -> _Desk:
        from edgekit.assembler.assembler import Assembler

        planned = plan(task=task, model=model, **inputs)
        asked = planned.task
        assert isinstance(asked, Task)  # noqa: S101 - `task` is given
        cost_model = load_cost_model(planned.target)
        assembler = Assembler.load(planned.model)
        started = perf_counter()
        tables = assembler.tables(asked, partial(price, cost_model, planned.target.precision))
        return cls(
            plan=planned,
            task=asked,
            cost_model=cost_model,
            assembler=assembler,
            tables=tables,
            pricing_s=perf_counter() - started,
        )

    def point(self, assembly: Assembly) -> Point:
        return point_of(self.plan, self.task, self.cost_model, assembly)
