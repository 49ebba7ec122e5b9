"""The figures of a report, each with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.core.budget import Cost
from edgekit.core.operators import Operator
from edgekit.core.quantity import Evidence, Quantity
from edgekit.devices.cost_model import CostModel
from edgekit.devices.memory import peak_ram_bytes
from edgekit.devices.precision import Precision
from edgekit.devices.size import file_size_bytes
from edgekit.exporters.exporter import exporter_of
from edgekit.pipeline.plan import BuildPlan
from edgekit.pipeline.result import Figure

if TYPE_CHECKING:
    from edgekit.assembler.searcher import Assembly
    from edgekit.pipeline.make import Made


def price(cost_model: CostModel, precision: Precision, operators: Sequence[Operator]) -> Cost:
    """The predicted cost of a list of operators on a target."""
    return Cost(
        latency_ms=cost_model.latency_ms(operators),
        size_bytes=file_size_bytes(operators, precision, cost_model.target.runtime),
        peak_ram_bytes=peak_ram_bytes(operators, precision) if operators else 0,
        macs=sum(operator.macs for operator in operators),
    )


def figures_of(
    planned: BuildPlan, made: Made, cost_model: CostModel, *, measured: Quantity | None = None
) -> tuple[Figure, ...]:
    """`measured` is the file's accuracy on labelled pictures, which then goes before what was known without them."""
    path, precision, runtime = made.artifact.path, planned.target.precision, planned.target.runtime
    graph, file = exporter_of(path).read_graph(path, signature=made.artifact.signature), path.name
    size_bytes = file_size_bytes(made.model.operators, precision, runtime)
    quantities = {
        **_accuracies(made.accuracy, measured),
        "latency": cost_model.predict_latency(graph.operators),
        "size": counted(made.artifact.size_bytes, "bytes", file),
        "size predicted": modelled(size_bytes, "bytes", f"file size model of {runtime}"),
        "peak RAM": modelled(peak_ram_bytes(graph.operators, precision), "bytes", f"liveness of the tensors of {file}"),
        "peak RAM predicted": modelled(
            peak_ram_bytes(made.model.operators, precision), "bytes", "liveness of the described operators"
        ),
        "MACs": counted(graph.macs, "MACs", file),
        "parameters": counted(graph.parameters, "weights", file),
    }
    return tuple(Figure(name=name, quantity=quantity) for name, quantity in quantities.items())


def _accuracies(known: Quantity, measured: Quantity | None) -> dict[str, Quantity]:
    if measured is None:
        return {"accuracy": known}
    return {
        "accuracy": measured,
        f"accuracy {'of examples' if known.evidence is Evidence.MEASURED else 'predicted'}": known,
    }


def predicted_accuracy(planned: BuildPlan, assembly: Assembly) -> Quantity:
    return Quantity(
        value=assembly.accuracy,
        unit="fraction",
        evidence=Evidence.PREDICTED,
        source=f"accuracy predictor of {planned.model.name}, fp32, images like those held out (90 % interval)",
        interval=assembly.interval,
    )


def counted(value: float, unit: str, file: str) -> Quantity:
    """Read off the file itself."""
    return Quantity(value=value, unit=unit, evidence=Evidence.MEASURED, source=f"counted in {file}")


def modelled(value: float, unit: str, model: str) -> Quantity:
    """What a model of ours says, without an interval."""
    return Quantity(value=value, unit=unit, evidence=Evidence.PREDICTED, source=model)
