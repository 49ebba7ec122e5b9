"""A network that could be built: what it is predicted to reach and to cost, and the command that builds it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core.data_folders import data_folder
from edgekit.core.quantity import Quantity
from edgekit.devices.cost_model import CostModel
from edgekit.pipeline.examples import Examples
from edgekit.pipeline.figures import modelled, predicted_accuracy
from edgekit.pipeline.plan import BuildPlan
from edgekit.pipeline.result import Figure
from edgekit.tasks.task import Task, TaskKind

if TYPE_CHECKING:
    from edgekit.assembler.assembly import Assembly


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One network that could be built: `command` builds it."""

    genotype: str
    figures: tuple[Figure, ...]
    command: str

    def figure(self, name: str) -> Quantity:
        """Raises KeyError for a figure that the point does not have."""
        return {figure.name: figure.quantity for figure in self.figures}[name]

    def to_json(self) -> dict[str, Any]:
        return {
            "genotype": self.genotype,
            "figures": [{"name": figure.name, **figure.quantity.to_json()} for figure in self.figures],
            "command": self.command,
        }


def point_of(planned: BuildPlan, task: Task, cost_model: CostModel, assembly: Assembly) -> Point:
    """`task` is the plan's, or that of the labels that stand in for own classes."""
    from edgekit.supernet.description import describe

    spec = planned.model.spec
    operators = describe(spec, assembly.genotype, rows=len(task.head_rows(spec.labels)), sums=task.sums)
    cost = assembly.cost
    quantities = {
        "accuracy": predicted_accuracy(planned, assembly),
        "latency": cost_model.predict_latency(operators),
        "size": modelled(cost.size_bytes, "bytes", f"file size model of {planned.target.runtime}"),
        "peak RAM": modelled(cost.peak_ram_bytes, "bytes", "liveness of the described operators"),
        "MACs": modelled(cost.macs, "MACs", "counted in the described operators"),
    }
    return Point(
        genotype=str(assembly.genotype),
        figures=tuple(Figure(name=name, quantity=quantity) for name, quantity in quantities.items()),
        command=_command(planned, assembly),
    )


def _command(planned: BuildPlan, assembly: Assembly) -> str:
    asked, folder = planned.task, planned.model
    is_shipped = folder.path.parent == data_folder("models")
    words = ["edgekit", "build", "--model", folder.name if is_shipped else str(folder.path)]
    words += ["--examples", str(asked.folder)] if isinstance(asked, Examples) else ["--task", asked.text, *_kind(asked)]
    words += ["--target", str(planned.target), "--genotype", str(assembly.genotype), "-o", "out"]
    return shlex.join(words)


def _kind(task: Task) -> list[str]:
    presence = ["--presence"] if task.kind is TaskKind.PRESENCE else []
    grouped = ["--grouped"] if task.kind is TaskKind.GROUPED else []
    return [*presence, *grouped, *(["--other"] if task.other else [])]
