"""What a model file costs on a target: measured on a board, or predicted where none is attached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.graph import Graph
from edgekit.devices.boards.board import Board, load_board
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.devices.device import Device, load_device
from edgekit.devices.memory import peak_ram_bytes
from edgekit.devices.precision import Precision
from edgekit.devices.target import Target, parse_target, split_target
from edgekit.exporters.exporter import MODEL_FILES, exporter_of
from edgekit.exporters.foreign import read_foreign_graph
from edgekit.exporters.tvm.library import architecture_of
from edgekit.pipeline.figures import counted, modelled
from edgekit.pipeline.on_board import LATENCY, REPORT, figures_on_board, holds_variants, record_in_build
from edgekit.pipeline.operator_costs import KindCost, OperatorCost, kinds_of, operator_costs
from edgekit.pipeline.predict import network_of
from edgekit.pipeline.result import Figure

PROFILE_SCHEMA = 1
_CUSTOM = "CUSTOM "
# They multiply in ways that no count of ours covers.
_UNCOUNTED = ("SVDF", "LSTM", "RNN", "CONV_3D")


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """`notes` say what the prediction does not cover; `kinds` begin with what takes most time."""

    file: str
    target: str
    threads: int
    figures: tuple[Figure, ...]
    kinds: tuple[KindCost, ...]
    operators: tuple[OperatorCost, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": PROFILE_SCHEMA,
            "file": self.file,
            "target": self.target,
            "threads": self.threads,
            "figures": [{"name": figure.name, **figure.quantity.to_json()} for figure in self.figures],
            "kinds": [asdict(kind) for kind in self.kinds],
            "operators": [asdict(operator) for operator in self.operators],
            "notes": list(self.notes),
        }


def profile(
    model: Path | str, target: str | None = None, *, board: str | None = None, variant: str | None = None
) -> Profile:
    """`model` is a .tflite or .onnx file, a .so of edgekit's, or a build folder; runtime and precision are the file's own.

    With a `board` the file is run there: the latency is the measured one, with the prediction and the ratio beside it, or
    on an emulated board the instructions that it executes stand beside the prediction. A build folder's report and card then
    tell these. The board's device is the target, unless one is given.

    Raises BoardError and UnstableError as the board gives cause to, BadInputError for a file that is damaged or that the target's
    runtime cannot run, UsageError for an unknown target or board, a runtime or precision that is not the file's, and a variant that
    the file does not have, MissingExtraError for an ONNX file without the onnx library.
    """
    path, signature = network_of(Path(model), variant)
    attached = None if board is None else load_board(board)
    target = _target_text(target, attached, path, signature)
    graph = read_foreign_graph(path, signature=signature)
    custom = sorted(name.removeprefix(_CUSTOM) for name in graph.census if name.startswith(_CUSTOM))
    if custom:
        raise BadInputError(
            f"{path} needs custom operators: {', '.join(custom)}",
            hint="it was compiled for an accelerator or a special runtime: profile the file that it was made from",
        )
    resolved = _target_of(graph, target, path)
    cost_model, notes = _cost_model(resolved, attached)
    predicted = None if cost_model is None else cost_model.predict_latency(graph.operators)
    costs = () if cost_model is None else operator_costs(graph.operators, cost_model)
    if attached is not None:
        latency = figures_on_board(attached, path, predicted, threads=resolved.threads)
        if path.parent == Path(model) and path.name in MODEL_FILES and (path.parent / REPORT).is_file():
            notes += record_in_build(path.parent, latency, resolved)
    else:
        latency = () if predicted is None else (Figure(name=LATENCY, quantity=predicted),)
    return Profile(
        file=str(path),
        target=str(resolved),
        threads=resolved.threads,
        figures=latency + _counts(graph, resolved.precision, path),
        kinds=kinds_of(costs),
        operators=costs,
        notes=(*notes, *_notes(graph, resolved.precision)),
    )


def _target_text(target: str | None, board: Board | None, path: Path, signature: str | None) -> str:
    """What is asked for, or the board's device. Raises UsageError where they do not fit."""
    if board is None:
        if target is None:
            raise UsageError("neither a target nor a board is given", hint="add --target DEVICE or --board BOARD")
        return target
    if signature is not None or holds_variants(path):
        raise UsageError(
            f"{path}: a board runs files of a single network", hint="leave --board out to predict its latency"
        )
    if target is None:
        return board.device
    if parse_target(target).device.name != load_device(board.device).name:
        raise UsageError(f"{board.name} is a {board.device}, not a {target}", hint="leave --target out")
    return target


def precision_of(graph: Graph) -> Precision:
    """fp32 where any operator reads or writes float32, else fp16 where any reads or writes float16."""
    if graph.dtypes.get("float32"):
        return Precision.FP32
    return Precision.FP16 if graph.dtypes.get("float16") else Precision.INT8


def _target_of(graph: Graph, text: str, path: Path) -> Target:
    """The target with the file's runtime and precision."""
    named, said = parse_target(text), split_target(text)
    runtime = exporter_of(path).runtime
    if said.runtime is None:
        named = replace(named, runtime=named.device.runtime(runtime).name)
    elif named.runtime != runtime:
        raise UsageError(
            f"{path} is not a file for {named.runtime}",
            hint=f"ask for {named.device.name}:{runtime}, or for {named.device.name}",
        )
    precision = precision_of(graph)
    resolved = replace(named, precision=precision)
    if said.precision is not None and named.precision is not precision:
        raise UsageError(
            f"{path} computes in {precision}, not in {named.precision}",
            hint=f"ask for {resolved}, or for {named.device.name}",
        )
    _check_processor(path, named.device)
    if precision not in named.device.runtime(named.runtime).precisions:
        raise UsageError(
            f"{named.runtime} on {named.device.name} has no {precision}, the precision of {path}",
            hint="profile it for another target",
        )
    return resolved


def _check_processor(path: Path, device: Device) -> None:
    """Raises BadInputError for a library of another processor."""
    if path.suffix != ".so":
        return
    made_for, has = architecture_of(path), device.triple.partition("-")[0]
    if made_for != has:
        raise BadInputError(
            f"{path} is compiled for {made_for}, and {device.name} has {has}",
            hint="profile model.so of the build, or for a target with that processor",
        )


def _cost_model(target: Target, board: Board | None) -> tuple[CostModel | None, tuple[str, ...]]:
    """None, and why, where nothing predicts the target but a board measures it. Raises UsageError."""
    try:
        return load_cost_model(target), ()
    except UsageError as error:
        if board is None or board.emulated:
            raise
        return None, (f"{error.message}: no table by operator",)


def _counts(graph: Graph, precision: Precision, path: Path) -> tuple[Figure, ...]:
    quantities = {
        "peak RAM": modelled(
            peak_ram_bytes(graph.operators, precision),
            "bytes",
            "liveness of the activations; weights and the runtime come on top",
        ),
        "size": counted(path.stat().st_size, "bytes", path.name),
        "MACs": counted(graph.macs, "MACs", path.name),
        "parameters": counted(graph.parameters, "weights", path.name),
    }
    return tuple(Figure(name=name, quantity=quantity) for name, quantity in quantities.items())


def _notes(graph: Graph, precision: Precision) -> Iterable[str]:
    if uncounted := [name for name in graph.census if any(part in name for part in _UNCOUNTED)]:
        yield f"for {', '.join(sorted(uncounted))} only the bytes are counted: the predicted latency is too low"
    if precision is Precision.FP32 and (graph.dtypes.get("int8") or graph.dtypes.get("uint8")):
        yield "operators with int8 weights on float32 activations are priced as fp32"
    if precision is Precision.INT8 and graph.dtypes.get("int16"):
        yield "operators on int16 are priced as int8: the predicted latency is too low"
