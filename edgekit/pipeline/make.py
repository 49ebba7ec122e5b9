"""From a plan to an exported file: assemble, slice, prune what no slice is small enough for, export."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.budget import Budget
from edgekit.core.errors import InfeasibleError, VerificationError
from edgekit.core.model import Model, Preprocessing
from edgekit.core.quantity import Quantity
from edgekit.devices.cost_model import CostModel
from edgekit.devices.size import file_size_bytes
from edgekit.exporters.exporter import exporter_for
from edgekit.pipeline.build_folder import recipe_of
from edgekit.pipeline.calibration_pictures import at_size
from edgekit.pipeline.compression.recipe import Recipe
from edgekit.pipeline.examples import Examples, LearntHead, learn, stand_ins_of
from edgekit.pipeline.figures import predicted_accuracy, price
from edgekit.pipeline.plan import BuildPlan
from edgekit.pipeline.shrinking import START_ROOM, Shrunk, shrink
from edgekit.pipeline.stages import Stages
from edgekit.pipeline.tuning import tune_library
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import SupernetFolder
from edgekit.tasks.task import Task

if TYPE_CHECKING:
    from edgekit.assembler.assembler import Assembler
    from edgekit.assembler.costs import CostTables
    from edgekit.assembler.searcher import Assembly, Searcher
    from edgekit.exporters.artifact import Artifact
    from edgekit.supernet.subnet import Subnet

MAX_SLICE_DIFFERENCE: Final = 1e-5
SIZE_ATTEMPTS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """An exported network on its way into the build folder. `budget` has its limits absolute. `task` is that which its bricks were
    chosen for, at the prices of `tables`; `sliced` is the model before anything was pruned."""

    task: Task
    tables: CostTables
    assembly: Assembly
    budget: Budget
    sliced: Model
    slice_accuracy: Quantity
    model: Model
    artifact: Artifact
    accuracy: Quantity
    learnt: LearntHead | None
    slice_difference: float
    calibration_NHWC: NDArray[np.float32]
    pruned: Shrunk | None = None


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
    from edgekit.supernet.early_exit import sharpened

    exporter = exporter_for(planned.target.runtime)
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
            x_NHWC = at_size(calibration_NHWC, planned.model.spec.image_size_of(assembly.genotype))
            subnet, difference = _slice(assembler, assembly.genotype, task, x_NHWC)
            if sharpness != 1.0:
                subnet = sharpened(subnet, sharpness)
            accuracy, learnt = predicted_accuracy(planned, assembly), None
            if own is not None:
                subnet, accuracy, learnt = learn(own, subnet, size=x_NHWC.shape[1], stand_ins=task.text)
            model = _model(planned, assembly.genotype, subnet)
        sliced, slice_accuracy, pruned = model, accuracy, None
        if is_larger:
            with stages.stage("prune"):
                pruned = _pruned(planned, model, budget, x_NHWC, cost_model, stages)
                model, accuracy = pruned.model, pruned.accuracy(accuracy)
        with stages.stage("export"):
            export = partial(exporter.export, model, target=planned.target, calibration_N=x_NHWC, folder=folder)
            artifact = export()
        if planned.tuning is not None:
            with stages.stage("tune"):
                tune_library(artifact.path, planned.target, planned.tuning, progress=stages.note)
            with stages.stage("export"):
                artifact = export()
        if not isinstance(limit, (int, float)) or artifact.size_bytes <= limit:
            return Made(
                task=task,
                tables=tables,
                assembly=assembly,
                budget=budget,
                sliced=sliced,
                slice_accuracy=slice_accuracy,
                model=model,
                artifact=artifact,
                accuracy=accuracy,
                learnt=learnt,
                slice_difference=difference,
                calibration_NHWC=x_NHWC,
                pruned=pruned,
            )
        stages.note(f"the file has {artifact.size_bytes} bytes, above the limit of {limit:.0f}: a smaller one is made")
        predicted = file_size_bytes(model.operators, planned.target.precision, planned.target.runtime)
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
    passes = ", ".join(step["id"] for step in recipe_of(planned, pruned)["passes"])
    return replace(pruned, model=replace(pruned.model, provenance={**model.provenance, "passes": passes}))


def _stand_ins(examples: Examples, assembler: Assembler, model: SupernetFolder, stages: Stages) -> Task:
    with stages.stage("examples"):
        task = stand_ins_of(examples, assembler, model)
        stages.note(f"bricks are chosen for {task.text}, which stand in for {', '.join(examples.classes)}")
    return task


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
            hint="report it with the build's plan.json: it is a bug in edgekit",
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
        preprocessing=Preprocessing(height=size, width=size),
        operators=describe(
            spec, genotype, rows=subnet.head.out_features, sums=None if subnet.grouping is None else len(labels)
        ),
        provenance={
            "supernet": planned.model.name,
            "supernet_sha256": planned.model.card["sha256"]["weights.safetensors"],
            "genotype": str(genotype),
            "task": task.text,
            "target": str(planned.target),
            "passes": ", ".join(step["id"] for step in recipe_of(planned)["passes"]),
        },
    )
