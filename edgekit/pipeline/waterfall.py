"""What each step of a build made of the network: from the whole supernet to the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from edgekit.core.errors import UsageError
from edgekit.core.quantity import Quantity
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.devices.precision import Precision
from edgekit.devices.size import file_size_bytes
from edgekit.exporters.exporter import exporter_of
from edgekit.pipeline.figures import counted, modelled, predicted_accuracy
from edgekit.pipeline.result import Figure
from edgekit.tasks.task import Task

if TYPE_CHECKING:
    from edgekit.assembler.searcher import Searcher
    from edgekit.core.operators import Operator
    from edgekit.exporters.check import Verification
    from edgekit.pipeline.make import Made
    from edgekit.pipeline.plan import BuildPlan

FULL: Final = "full supernet"
SLICE: Final = "slice"
PRUNE: Final = "prune"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The network after a step; `figures` are as many as are known, and `note` is what else there is to say."""

    name: str
    figures: tuple[Figure, ...]
    note: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "figures": [{"name": figure.name, **figure.quantity.to_json()} for figure in self.figures],
            "note": self.note,
        }


def waterfall_of(
    planned: BuildPlan,
    made: Made,
    cost_model: CostModel,
    searcher: Searcher,
    verification: Verification,
    measured: Mapping[str, Quantity],
) -> tuple[Step, ...]:
    """`measured` are accuracies on labelled pictures by the name of the step; without them the predictor's stand there."""
    from edgekit.supernet.description import describe

    spec, task, runtime = planned.model.spec, made.task, planned.target.runtime
    fp32 = _of_fp32(cost_model)
    full = describe(spec, spec.full, rows=len(task.head_rows(spec.labels)), sums=task.sums)
    accuracies = {SLICE: made.slice_accuracy}
    if isinstance(planned.task, Task):
        accuracies[FULL] = predicted_accuracy(planned, searcher.assess(spec.full, task, made.tables))
    steps = [
        _described(FULL, full, fp32, runtime, "its head cut to what the task asks for, fp32"),
        _described(SLICE, made.sliced.operators, fp32, runtime, "normalisation folded into the weights, fp32"),
    ]
    if made.pruned is not None:
        accuracies[PRUNE] = made.accuracy
        passes = "; ".join(map(str, made.pruned.passes))
        steps.append(_described(PRUNE, made.model.operators, fp32, runtime, f"{passes}, fp32"))
    steps.append(_exported(planned, made, cost_model, verification))
    return tuple(_with_accuracy(step, measured.get(step.name, accuracies.get(step.name))) for step in steps)


def last_step(planned: BuildPlan) -> str:
    """The name of the step that ends in the file."""
    precision = planned.target.precision
    return "export" if precision is Precision.FP32 else str(precision)


def _described(name: str, operators: Sequence[Operator], fp32: CostModel | None, runtime: str, note: str) -> Step:
    counts = "counted in the described operators"
    quantities = {
        "parameters": modelled(sum(one.weights + one.biases for one in operators), "weights", counts),
        "MACs": modelled(sum(one.macs for one in operators), "MACs", counts),
        "size": modelled(
            file_size_bytes(operators, Precision.FP32, runtime), "bytes", f"file size model of {runtime}, fp32"
        ),
    }
    if fp32 is not None:
        quantities["latency"] = fp32.predict_latency(operators)
    return Step(name=name, figures=_figures(quantities), note=note)


def _exported(planned: BuildPlan, made: Made, cost_model: CostModel, verification: Verification) -> Step:
    path = made.artifact.path
    graph = exporter_of(path).read_graph(path, signature=made.artifact.signature)
    quantities = {
        "parameters": counted(graph.parameters, "weights", path.name),
        "MACs": counted(graph.macs, "MACs", path.name),
        "size": counted(made.artifact.size_bytes, "bytes", path.name),
        "latency": cost_model.predict_latency(graph.operators),
    }
    agreements = [one.value for one in verification.checks if one.name == f"{planned.target.precision} top-1 agreement"]
    notes = [f"the same answer as fp32 to {share:.1%} of the calibration pictures" for share in agreements]
    return Step(name=last_step(planned), figures=_figures(quantities), note=", ".join([f"in {path.name}", *notes]))


def _of_fp32(cost_model: CostModel) -> CostModel | None:
    """That of the same runtime, where the device has fp32."""
    try:
        return load_cost_model(replace(cost_model.target, precision=Precision.FP32))
    except UsageError:
        return None


def _figures(quantities: Mapping[str, Quantity]) -> tuple[Figure, ...]:
    return tuple(Figure(name=name, quantity=quantity) for name, quantity in quantities.items())


def _with_accuracy(step: Step, accuracy: Quantity | None) -> Step:
    if accuracy is None:
        return step
    return replace(step, figures=(*step.figures, Figure(name="accuracy", quantity=accuracy)))
