"""The way of a build: plan, assemble, slice, export, verify, profile, report."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from edgekit.core.budget import Budget, Cost
from edgekit.core.errors import InfeasibleError, VerificationError
from edgekit.core.images import list_images, read_image, to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.core.operators import Operator
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import sha256_of, whole_folder, write_bytes, write_json
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.devices.memory import peak_ram_bytes
from edgekit.devices.precision import Precision
from edgekit.devices.size import file_size_bytes
from edgekit.pipeline.compression.recipe import Recipe
from edgekit.pipeline.examples import Examples, LearntHead, learn, stand_ins_of
from edgekit.pipeline.plan import BuildPlan, plan
from edgekit.pipeline.result import BuildResult, Figure
from edgekit.pipeline.shrinking import START_ROOM, Shrunk, shrink
from edgekit.pipeline.stages import Stages
from edgekit.report.card import write_card
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import CALIBRATION, SupernetFolder
from edgekit.tasks.task import Task
from edgekit.version import VERSION

if TYPE_CHECKING:
    from edgekit.assembler.assembler import Assembler
    from edgekit.assembler.costs import CostTables
    from edgekit.assembler.searcher import Assembly, Searcher
    from edgekit.exporters.tflite import Artifact
    from edgekit.exporters.verify import Verification
    from edgekit.supernet.subnet import Subnet

MAX_CALIBRATION_IMAGES = 128
MIN_INT8_AGREEMENT = 0.9
MAX_SLICE_DIFFERENCE = 1e-5
SIZE_ATTEMPTS = 3
KEPT_OUTPUTS = 16
_LIBRARIES = ("torch", "numpy", "litert-torch", "ai-edge-litert", "ai-edge-quantizer", "safetensors", "pillow")


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """An exported network on its way into the build folder."""

    assembly: Assembly
    model: Model
    artifact: Artifact
    accuracy: Quantity
    learnt: LearntHead | None
    slice_difference: float
    calibration_NHWC: NDArray[np.float32]
    pruned: Shrunk | None = None


def build(
    *,
    task: str | None = None,
    examples: Path | str | None = None,
    output: Path | str | None = None,
    target: str = "rpi4",
    budget: Budget | None = None,
    genotype: str | None = None,
    model: str | Path = "signs43",
    presence: bool = False,
    grouped: bool = False,
    other: bool = False,
    data: Path | str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _stage: None,
) -> BuildResult:
    """Builds the network of a task, or of own classes, for a target into the folder `output`, whole or not at all.

    `examples` is a folder of pictures for each class, in place of `task`. With `genotype` that network is built, whatever it
    costs. Without `output` the folder lies in the user's cache, named by the hash of the inputs. `data` is a folder of pictures
    to calibrate int8 with, in place of the examples or the supernet's synthesised ones. `progress` is called with the name of
    each stage as it starts. Raises UsageError, InfeasibleError, ConversionError, VerificationError, and
    BadInputError, each with its exit code.
    """
    stages = Stages(progress)
    with stages.stage("plan"):
        planned = plan(
            task=task,
            examples=examples,
            target=target,
            budget=budget,
            genotype=genotype,
            model=model,
            presence=presence,
            grouped=grouped,
            other=other,
            data=data,
            seed=seed,
        )
        cost_model = load_cost_model(planned.target)
    place = _cache_place(planned) if output is None else Path(output)
    with whole_folder(place, overwrite=overwrite or output is None, marker="report.json") as folder:
        with stages.stage("load"):
            from edgekit.assembler.assembler import Assembler

            assembler = Assembler.load(planned.model)
            calibration_NHWC = calibration_pictures(planned)
        made = make(planned, assembler, cost_model, calibration_NHWC, folder, stages)
        with stages.stage("verify"):
            from edgekit.exporters.verify import verify

            verification = verify(made.model, made.artifact, made.calibration_NHWC, min_agreement=MIN_INT8_AGREEMENT)
        with stages.stage("profile"):
            figures = figures_of(planned, made, cost_model)
        with stages.stage("report"):
            result = BuildResult(
                folder=place,
                plan=planned,
                genotype=str(made.assembly.genotype),
                labels=made.model.labels,
                figures=figures,
                learnt=made.learnt,
                stages_s=stages.seconds,
            )
            _write(folder, result, made, verification, stages)
    return result


def _cache_place(planned: BuildPlan) -> Path:
    inputs = json.dumps(planned.to_json(), sort_keys=True).encode()
    return user_cache_path("edgekit") / "builds" / sha256(inputs).hexdigest()[:16]


def make(
    planned: BuildPlan,
    assembler: Assembler,
    cost_model: CostModel,
    calibration_NHWC: NDArray[np.float32],
    folder: Path,
    stages: Stages,
    *,
    prunes: bool = True,
    sharpness: float = 1.0,
) -> Made:
    """Assembles and exports; with `prunes` also what is smaller than any slice. Where the real file breaks a size limit that the
    prediction kept, again with a tighter limit. Logits are `sharpness` times the supernet's."""
    from edgekit.exporters.tflite import export
    from edgekit.supernet.early_exit import sharpened

    own = planned.task if isinstance(planned.task, Examples) else None
    task = (
        planned.task if isinstance(planned.task, Task) else _stand_ins(planned.task, assembler, planned.model, stages)
    )
    tables = assembler.tables(task, partial(price, cost_model, planned.target.precision))
    budget = planned.budget.resolve(tables.full)
    limit = budget.size_bytes
    for _ in range(SIZE_ATTEMPTS):
        with stages.stage("assemble"):
            assembly, is_larger = (
                _searched(assembler.searcher, task, budget, tables, planned.seed, prunes)
                if planned.genotype is None
                else (assembler.searcher.assess(planned.genotype, task, tables), False)
            )
            stages.note(f"genotype {assembly.genotype}, predicted accuracy {assembly.accuracy:.4f} on {task.text}")
        with stages.stage("slice"):
            x_NHWC = _at_size(calibration_NHWC, planned.model.spec.image_size_of(assembly.genotype))
            subnet, difference = _slice(assembler, assembly.genotype, task, x_NHWC)
            if sharpness != 1.0:
                subnet = sharpened(subnet, sharpness)
            accuracy, learnt = predicted_accuracy(planned, assembly), None
            if own is not None:
                subnet, accuracy, learnt = learn(own, subnet, size=x_NHWC.shape[1], stand_ins=task.text)
            model = _model(planned, assembly.genotype, subnet)
        pruned = None
        if is_larger:
            with stages.stage("prune"):
                pruned = _pruned(planned, model, budget, x_NHWC, cost_model, stages)
                model, accuracy = pruned.model, pruned.accuracy(accuracy)
        with stages.stage("export"):
            artifact = export(model, precision=planned.target.precision, calibration_N=x_NHWC, folder=folder)
        if not isinstance(limit, (int, float)) or artifact.size_bytes <= limit:
            return Made(
                assembly=assembly,
                model=model,
                artifact=artifact,
                accuracy=accuracy,
                learnt=learnt,
                slice_difference=difference,
                calibration_NHWC=x_NHWC,
                pruned=pruned,
            )
        stages.note(f"the file has {artifact.size_bytes} bytes, above the limit of {limit:.0f}: a smaller one is made")
        predicted = file_size_bytes(model.operators, planned.target.precision)
        budget = replace(budget, size_bytes=limit * predicted / artifact.size_bytes * 0.99)
    raise InfeasibleError(
        f"no file within {limit:.0f} bytes: the smallest tried has {artifact.size_bytes}", hint="raise --size-bytes"
    )


def _searched(
    searcher: Searcher, task: Task, budget: Budget, tables: CostTables, seed: int, prunes: bool
) -> tuple[Assembly, bool]:
    """The best genotype inside the budget; where it is the size that no slice keeps, the best of somewhat larger ones, and True."""
    try:
        return searcher.search(task, budget, tables, seed=seed), False
    except InfeasibleError:
        limit = budget.size_bytes
        least = tables.cost(list(searcher.spec.least_genes)).size_bytes
        if not (prunes and isinstance(limit, (int, float)) and limit < least) or budget.min_accuracy is not None:
            raise  # nothing predicts what a pruned network reaches, so no floor can be promised
        return searcher.search(
            task, replace(budget, size_bytes=max(START_ROOM * limit, least)), tables, seed=seed
        ), True


def _pruned(
    planned: BuildPlan,
    model: Model,
    budget: Budget,
    x_NHWC: NDArray[np.float32],
    cost_model: CostModel,
    stages: Stages,
) -> Shrunk:
    limit = budget.size_bytes
    pruned = shrink(
        model,
        limit if isinstance(limit, (int, float)) else 0.0,
        x_NHWC=x_NHWC,
        target=planned.target,
        cost_model=cost_model,
        seed=planned.seed,
        progress=stages.note,
    )
    stages.note(f"no slice is small enough: {Recipe(passes=pruned.passes)}")
    passes = ", ".join(step["id"] for step in _recipe(planned, pruned)["passes"])
    return replace(pruned, model=replace(pruned.model, provenance={**model.provenance, "passes": passes}))


def _stand_ins(examples: Examples, assembler: Assembler, model: SupernetFolder, stages: Stages) -> Task:
    with stages.stage("examples"):
        task = stand_ins_of(examples, assembler, model)
        stages.note(f"bricks are chosen for {task.text}, which stand in for {', '.join(examples.classes)}")
    return task


def price(cost_model: CostModel, precision: Precision, operators: Sequence[Operator]) -> Cost:
    """The predicted cost of a list of operators on a target."""
    return Cost(
        latency_ms=cost_model.latency_ms(operators),
        size_bytes=file_size_bytes(operators, precision),
        peak_ram_bytes=peak_ram_bytes(operators, precision) if operators else 0,
        macs=sum(operator.macs for operator in operators),
    )


def calibration_pictures(planned: BuildPlan) -> NDArray[np.float32]:
    """`x_NHWC` pictures at the supernet's size: the user's, or those synthesised when the supernet was trained."""
    preprocessing = _preprocessing(planned.model.spec.image_size)
    if planned.data is not None:
        paths = list_images(planned.data)
        return to_float(
            np.stack([read_image(paths[index], preprocessing) for index in _some(len(paths), planned.seed)]),
            preprocessing,
        )
    if isinstance(planned.task, Examples):
        return to_float(planned.task.x_NHWC[_some(len(planned.task.x_NHWC), planned.seed)], preprocessing)
    return to_float(planned.model.read_tensors(CALIBRATION)["x_NHWC"].numpy(), preprocessing)


def _some(pictures: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(pictures)[:MAX_CALIBRATION_IMAGES])


def _at_size(x_NHWC: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    import torch

    from edgekit.supernet.resizing import resized

    small_NCHW = resized(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2), size)
    return np.ascontiguousarray(small_NCHW.permute(0, 2, 3, 1).numpy())


def _preprocessing(size: int) -> Preprocessing:
    return Preprocessing(height=size, width=size)


def _slice(assembler: Assembler, genotype: Genotype, task: Task, x_NHWC: NDArray[np.float32]) -> tuple[Subnet, float]:
    """The subnet, and how far its probabilities are from the gated supernet's. Raises VerificationError."""
    import torch

    from edgekit.supernet.subnet import slice_subnet, task_probabilities

    subnet = slice_subnet(assembler.supernet, genotype, task)
    with torch.inference_mode():
        x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous()
        gated = task_probabilities(assembler.supernet.forward_gated(x_NCHW, genotype), task)
        difference = float((subnet(x_NCHW) - gated).abs().max())
    if not difference <= MAX_SLICE_DIFFERENCE:
        raise VerificationError(
            f"slice: the subnet {genotype} differs from the gated supernet by {difference:.2g}, at most "
            f"{MAX_SLICE_DIFFERENCE:g} is allowed",
            hint="report it with the build's plan.json: it is a fault of edgekit",
        )
    return subnet, difference


def _model(planned: BuildPlan, genotype: Genotype, subnet: Subnet) -> Model:
    from edgekit.supernet.description import describe

    task, spec = planned.task, planned.model.spec
    labels = task.classes if isinstance(task, Examples) else task.outputs(planned.model.vocabulary)
    size = spec.image_size_of(genotype)
    return Model(
        module=subnet,
        input_shape=(3, size, size),
        labels=labels,
        preprocessing=_preprocessing(size),
        operators=describe(
            spec, genotype, rows=subnet.head.out_features, sums=None if subnet.grouping is None else len(labels)
        ),
        provenance={
            "supernet": planned.model.name,
            "supernet_sha256": planned.model.card["sha256"]["weights.safetensors"],
            "genotype": str(genotype),
            "task": task.text,
            "target": str(planned.target),
            "passes": ", ".join(step["id"] for step in _recipe(planned)["passes"]),
        },
    )


def _recipe(planned: BuildPlan, pruned: Shrunk | None = None) -> dict[str, Any]:
    passes: list[dict[str, Any]] = [{"id": "fold::batch_norm"}]
    if pruned is not None:
        passes += Recipe(passes=pruned.passes).to_json()["passes"]
    if planned.target.precision is Precision.INT8:
        passes.append({"id": "quant::static_wi8_ai8"})
    return {"schema_version": 1, "passes": passes}


def figures_of(planned: BuildPlan, made: Made, cost_model: CostModel) -> tuple[Figure, ...]:
    from edgekit.exporters.tflite_graph import read_graph

    graph = read_graph(made.artifact.path)
    file = made.artifact.path.name
    precision = planned.target.precision
    quantities = {
        "accuracy": made.accuracy,
        "latency": cost_model.predict_latency(graph.operators),
        "size": _counted(made.artifact.size_bytes, "bytes", file),
        "size predicted": _modelled(file_size_bytes(made.model.operators, precision), "bytes", "file size model"),
        "peak RAM": _modelled(
            peak_ram_bytes(graph.operators, precision), "bytes", f"liveness of the tensors of {file}"
        ),
        "peak RAM predicted": _modelled(
            peak_ram_bytes(made.model.operators, precision), "bytes", "liveness of the described operators"
        ),
        "MACs": _counted(graph.macs, "MACs", file),
        "parameters": _counted(sum(op.weights + op.biases for op in graph.operators), "weights", file),
    }
    return tuple(Figure(name=name, quantity=quantity) for name, quantity in quantities.items())


def predicted_accuracy(planned: BuildPlan, assembly: Assembly) -> Quantity:
    return Quantity(
        value=assembly.accuracy,
        unit="fraction",
        evidence=Evidence.PREDICTED,
        source=f"accuracy predictor of {planned.model.name}, fp32, images like those held out (90 % interval)",
        interval=assembly.interval,
    )


def _counted(value: float, unit: str, file: str) -> Quantity:
    return Quantity(value=value, unit=unit, evidence=Evidence.MEASURED, source=f"counted in {file}")


def _modelled(value: float, unit: str, model: str) -> Quantity:
    return Quantity(value=value, unit=unit, evidence=Evidence.PREDICTED, source=model)


def _write(
    folder: Path,
    result: BuildResult,
    made: Made,
    verification: Verification,
    stages: Stages,
) -> None:
    if made.artifact.reference is not None:
        made.artifact.reference.path.unlink()
    x_NHWC, p_NK = kept_outputs(made, made.artifact.path)
    write_json(folder / "plan.json", result.plan.to_json())
    write_records(folder, result.plan, result.labels, {"x_NHWC": x_NHWC, "p_NK": p_NK}, stages, made.pruned)
    record = result.to_json()
    record["verification"] = verification.to_json()
    record["verification"]["slice_difference"] = made.slice_difference
    write_card(folder / "card.md", record, model_card=result.plan.model.card)
    record["sha256"] = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    write_json(folder / "report.json", record)


def kept_outputs(
    made: Made, path: Path, signature: str | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(`x_NHWC`, `p_NK`): some pictures and what the file makes of them, to be compared on another day."""
    from edgekit.exporters.runner import run_in_subprocess

    kept_NHWC = np.ascontiguousarray(made.calibration_NHWC[:KEPT_OUTPUTS])
    return kept_NHWC, np.ascontiguousarray(run_in_subprocess(path, kept_NHWC, signature=signature).outputs)


def write_records(
    folder: Path,
    planned: BuildPlan,
    labels: Sequence[str],
    kept: dict[str, NDArray[np.float32]],
    stages: Stages,
    pruned: Shrunk | None = None,
) -> None:
    """What lies in every build folder beside the model, the plan, the card and the report."""
    from safetensors.numpy import save

    write_bytes(folder / "outputs.safetensors", save(kept))
    write_bytes(folder / "labels.txt", ("\n".join(labels) + "\n").encode())
    write_json(folder / "recipe.json", _recipe(planned, pruned))
    write_json(folder / "env.json", environment())
    write_bytes(folder / "log.txt", ("\n".join(stages.log) + "\n").encode())


def environment() -> dict[str, Any]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "absent"
    return {
        "schema_version": 1,
        "edgekit": VERSION,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "libraries": found,
    }
