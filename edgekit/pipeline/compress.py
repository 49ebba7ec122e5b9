"""The way of a compression: plan, load, data, passes or a search for them, export, verify, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import BadInputError
from edgekit.core.model import Model, Preprocessing
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import check_replaceable, whole_folder, write_bytes, write_json
from edgekit.deploy.kit import write_kit
from edgekit.exporters.exporter import exporter_for
from edgekit.pipeline.build_folder import environment, write_report
from edgekit.pipeline.compression.account import Accountant, Row
from edgekit.pipeline.compression.checkpoints import checkpoints
from edgekit.pipeline.compression.compression import Compression, Made
from edgekit.pipeline.compression.data import Data, read_data
from edgekit.pipeline.compression.plan import CompressionPlan, plan_compression
from edgekit.pipeline.compression.recipe import Recipe
from edgekit.pipeline.figures import counted, modelled
from edgekit.pipeline.on_board import LATENCY, checked_board, in_place_of_latency
from edgekit.pipeline.result import REPORT_SCHEMA, Figure
from edgekit.pipeline.stages import Stages
from edgekit.report.compression_card import write_compression_card

if TYPE_CHECKING:
    from edgekit.devices.boards.board import Board
    from edgekit.networks.loading import Network
    from edgekit.passes.judgement import Judgement
    from edgekit.pipeline.compression.finish import Finished
    from edgekit.pipeline.compression.search import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressionResult:
    """A finished compression. `rows` are the model after each pass, the original first; `trials` what a search tried, and
    `refusals` which passes it could not apply and why; `judgement` is that of the exported file."""

    folder: Path
    plan: CompressionPlan
    recipe: Recipe
    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    trials: tuple[Trial, ...]
    refusals: dict[str, str]
    judgement: Judgement
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]
    stages_s: dict[str, float]

    @property
    def drop_points(self) -> float:
        """Of the file against the original, on the evaluation inputs."""
        return 100 * (self.rows[0].judgement.value - self.judgement.value)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": REPORT_SCHEMA,
            "folder": str(self.folder),
            "plan": self.plan.to_json(),
            "labels": list(self.labels),
            "recipe": self.recipe.to_json()["passes"],
            "rows": [row.to_json() for row in self.rows],
            "trials": [trial.to_json() for trial in self.trials],
            "refusals": dict(self.refusals),
            "judgement": self.judgement.to_json(),
            "drop_points": self.drop_points,
            "figures": [{"name": figure.name, **figure.quantity.to_json()} for figure in self.figures],
            "notes": list(self.notes),
            "stages_s": {name: round(seconds, 3) for name, seconds in self.stages_s.items()},
        }


def compress(
    source: str,
    *,
    output: Path | str,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _stage: None,
    clock: Callable[[], float] = time.monotonic,
    **asked: Any,
) -> CompressionResult:
    """Compresses the network `source` into the folder `output`, whole or not at all.

    `source` is a .pt2 or .onnx file, or a factory "package.module:function" whose `weights` are a file of safetensors or a state
    dict; a factory needs `input_shape`, without the batch. `data` are inputs to learn from and `evaluation` inputs to be judged on
    (docs/compress.md). With `recipe` (a file) or `passes` ("ID,OPTION=VALUE") these run; else a recipe is searched for `minutes`
    that loses at most `max_accuracy_drop` points on `target` and keeps `budget`; the minutes are those of `clock` (seconds). On the
    `board`, one of the target's device, the file's outputs are compared and its cost is told. Raises BoardError, UnstableError,
    UsageError, InfeasibleError, ConversionError, VerificationError and BadInputError, each with its exit code.
    """
    stages = Stages(progress)
    with stages.stage("plan"):
        planned = plan_compression(source, **asked)
        exporter_for(planned.target.runtime).check_installed(planned.target)
        check_replaceable(Path(output), overwrite=overwrite, marker="report.json")
    with stages.stage("load"):
        from edgekit.networks.loading import load_network

        network = load_network(source, weights=planned.weights, input_shape=planned.input_shape)
        preprocessing = _preprocessing(planned, network)
    with stages.stage("data"):
        data = read_data(
            planned.data,
            planned.evaluation,
            input_shape=network.input_shape,
            preprocessing=preprocessing,
            seed=planned.seed,
        )
        original = _original(planned, network, preprocessing, data)
        accountant = Accountant.for_target(planned.target, original, data.evaluation)
    place = Path(output)
    with (
        checkpoints(planned, original, data) as kept,
        whole_folder(place, overwrite=overwrite, marker="report.json") as folder,
    ):
        made = Compression(planned, original, data, accountant, stages, kept, clock).make(folder)
        figures, finished = _figures(made, accountant), made.finished
        if planned.board is not None:
            with stages.stage("board"):
                figures, finished = _on_board(planned, planned.board, figures, finished)
        with stages.stage("report"):
            result = CompressionResult(
                folder=place,
                plan=planned,
                recipe=made.recipe,
                labels=original.labels,
                rows=made.rows,
                trials=made.trials,
                refusals=made.refusals,
                judgement=finished.judgement,
                figures=figures,
                notes=(*network.notes, *data.notes, *made.notes, *finished.notes),
                stages_s=stages.seconds,
            )
            _write(folder, result, finished, stages)
    return result


def _preprocessing(planned: CompressionPlan, network: Network) -> Preprocessing | None:
    if len(network.input_shape) != 3 or network.input_shape[0] != 3:
        return None
    _, height, width = network.input_shape
    (m1, m2, m3), (s1, s2, s3) = planned.mean, planned.std
    return Preprocessing(height=height, width=width, mean=(m1, m2, m3), std=(s1, s2, s3))


def _original(planned: CompressionPlan, network: Network, preprocessing: Preprocessing | None, data: Data) -> Model:
    from edgekit.networks.description import describe
    from edgekit.networks.layers import run

    graph = describe(network.module, network.input_shape)
    outputs = run(network.module, data.calibration.x_N[:2])
    _check_labels(data, outputs.shape)
    labels = data.labels or planned.labels
    is_named = outputs.ndim == 2 and outputs.shape[1] == len(labels)
    sums = outputs.sum(-1)
    are_probabilities = outputs.ndim == 2 and bool(outputs.min() >= 0) and bool(((sums - 1).abs() < 1e-4).all())
    return Model(
        module=network.module,
        input_shape=network.input_shape,
        labels=labels if is_named else (),
        preprocessing=preprocessing,
        operators=graph.operators,
        output_range=(0.0, 1.0) if are_probabilities else None,
        provenance={"origin": network.origin, "sha256": network.sha256, "target": str(planned.target)},
    )


def _check_labels(data: Data, outputs: Sequence[int]) -> None:
    """Raises BadInputError where a label is no output of the network."""
    for samples in (data.training, data.judging, data.evaluation):
        if samples.y_N is None or len(outputs) != 2:
            continue
        least, most = int(samples.y_N.min()), int(samples.y_N.max())
        if least < 0 or most >= outputs[1]:
            raise BadInputError(
                f"the labels of the data run from {least} to {most}, the network has {outputs[1]} outputs, counted from 0",
                hint="number the labels as the network was trained with, or leave them out",
            )


def _figures(made: Made, accountant: Accountant) -> tuple[Figure, ...]:
    from edgekit.devices.memory import peak_ram_bytes
    from edgekit.exporters.foreign import read_foreign_graph

    finished = made.finished
    graph = read_foreign_graph(finished.artifact.path)
    file = finished.artifact.path.name
    judged = finished.judgement
    quantities = {
        judged.measure: Quantity(
            value=judged.value,
            unit="fraction",
            evidence=Evidence.MEASURED,
            source=f"{file} on {len(accountant.evaluation)} evaluation inputs (95 % interval)",
            interval=judged.interval,
        ),
        "latency": accountant.latency(finished.model, graph.operators),
        "size": counted(finished.artifact.size_bytes, "bytes", file),
        "peak RAM": modelled(
            peak_ram_bytes(graph.operators, finished.artifact.precision), "bytes", f"liveness of the tensors of {file}"
        ),
        "MACs": counted(graph.macs, "MACs", file),
        "parameters": counted(graph.parameters, "weights", file),
    }
    return tuple(Figure(name=name, quantity=quantity) for name, quantity in quantities.items())


def _on_board(
    planned: CompressionPlan, board: Board, figures: tuple[Figure, ...], finished: Finished
) -> tuple[tuple[Figure, ...], Finished]:
    """With what the board says in the place of the prediction, and a check more."""
    from edgekit.pipeline.board_verification import run_on_board

    predicted = {figure.name: figure.quantity for figure in figures}[LATENCY]
    with checked_board(board) as session:
        checks, of_board = run_on_board(
            session,
            finished.artifact,
            finished.kept["x_NHWC"],
            predicted,
            are_probabilities=finished.model.output_range == (0, 1),
            threads=planned.target.threads,
        )
    verification = replace(finished.verification, checks=(*finished.verification.checks, *checks))
    return in_place_of_latency(figures, of_board), replace(finished, verification=verification)


def _write(folder: Path, result: CompressionResult, finished: Finished, stages: Stages) -> None:
    from safetensors.numpy import save

    write_json(folder / "plan.json", result.plan.to_json())
    write_json(folder / "recipe.json", result.recipe.to_json())
    write_bytes(folder / "outputs.safetensors", save(finished.kept))
    write_bytes(folder / "labels.txt", "".join(f"{label}\n" for label in result.labels).encode())
    write_json(folder / "env.json", environment())
    write_bytes(folder / "log.txt", ("\n".join(stages.log) + "\n").encode())
    report = {**result.to_json(), "verification": finished.verification.to_json()}
    write_compression_card(folder / "card.md", report)
    write_kit(folder)
    write_report(folder, report)
