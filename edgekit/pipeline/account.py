"""What a report tells of a network beside its figures: how it came about, what else could be built, where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from edgekit.core.budget import Budget
from edgekit.core.confusion import Confusion
from edgekit.core.model import Preprocessing
from edgekit.core.quantity import Quantity
from edgekit.devices.cost_model import CostModel
from edgekit.exporters.exporter import exporter_of
from edgekit.pipeline.operator_costs import KindCost, OperatorCost, kinds_of, operator_costs
from edgekit.pipeline.points import Point, point_of
from edgekit.pipeline.waterfall import FULL, PRUNE, SLICE, Step, last_step, waterfall_of
from edgekit.tasks.task import Task

if TYPE_CHECKING:
    from edgekit.assembler.assembler import Assembler
    from edgekit.assembler.assembly import Assembly
    from edgekit.exporters.check import Verification
    from edgekit.pipeline.make import Made
    from edgekit.pipeline.plan import BuildPlan

POINTS: Final = 24
"""Of the front, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Answers of the file to labelled pictures, and accuracies on these by the step of the waterfall."""

    confusion: Confusion
    accuracies: dict[str, Quantity]
    accuracy: Quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Of one network. `kinds` begin with what takes most time."""

    steps: tuple[Step, ...]
    kinds: tuple[KindCost, ...]
    operators: tuple[OperatorCost, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "waterfall": [step.to_json() for step in self.steps],
            "kinds": [asdict(kind) for kind in self.kinds],
            "operators": [asdict(operator) for operator in self.operators],
        }


def judged(planned: BuildPlan, made: Made, assembler: Assembler) -> Judged | None:
    """None where the plan has no labelled pictures. The supernet and what was made of it answer in torch. Raises BadInputError."""
    from edgekit.supernet.subnet import slice_subnet

    pictures, preprocessing = planned.evaluation, made.model.preprocessing
    if pictures is None or preprocessing is None:
        return None
    of_file = pictures.answered_by_file(made.artifact, preprocessing)
    modules = {SLICE: (made.sliced.module, preprocessing)}
    if made.pruned is not None:
        modules[PRUNE] = (made.model.module, preprocessing)
    if isinstance(planned.task, Task):
        spec = planned.model.spec
        size = spec.image_size_of(spec.full)
        whole = slice_subnet(assembler.supernet, spec.full, planned.task)
        modules[FULL] = (whole, Preprocessing(height=size, width=size))
    accuracy = pictures.accuracy(of_file, made.artifact.path.name)
    in_torch = {
        name: pictures.accuracy(pictures.answered_by_module(module, wanted), f"{name}, torch fp32,")
        for name, (module, wanted) in modules.items()
    }
    return Judged(confusion=of_file, accuracy=accuracy, accuracies={**in_torch, last_step(planned): accuracy})


def account_of(
    planned: BuildPlan,
    made: Made,
    cost_model: CostModel,
    assembler: Assembler,
    verification: Verification,
    of_pictures: Judged | None,
) -> Account:
    path, measured = made.artifact.path, of_pictures.accuracies if of_pictures else {}
    graph = exporter_of(path).read_graph(path, signature=made.artifact.signature)
    operators = operator_costs(graph.operators, cost_model)
    return Account(
        steps=waterfall_of(planned, made, cost_model, assembler.searcher, verification, measured),
        kinds=kinds_of(operators),
        operators=operators,
    )


def front_of(
    planned: BuildPlan, task: Task, made: Sequence[Made], cost_model: CostModel, assembler: Assembler
) -> tuple[Point, ...]:
    """What could be built for the task, whatever the budget, with what was `made` among it; the fastest first."""
    from edgekit.assembler.front import front_at_hand, spread

    chosen: dict[str, Assembly] = {str(one.assembly.genotype): one.assembly for one in made}
    found = front_at_hand(assembler.searcher, task, Budget(), made[0].tables, seed=planned.seed)
    listed = {str(one.genotype): one for one in spread(found, POINTS)} | chosen
    fastest_first = sorted(listed.values(), key=lambda one: one.cost.latency_ms)
    return tuple(point_of(planned, task, cost_model, one) for one in fastest_first)
