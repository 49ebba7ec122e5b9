"""What lies in a build folder beside the model."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.records import sha256_of, write_bytes, write_json
from edgekit.deploy.kit import write_kit
from edgekit.devices.precision import Precision
from edgekit.exporters.exporter import exporter_for, exporter_of
from edgekit.pipeline.compression.recipe import Recipe
from edgekit.pipeline.plan import BuildPlan
from edgekit.pipeline.result import BuildResult
from edgekit.pipeline.shrinking import Shrunk
from edgekit.pipeline.stages import Stages
from edgekit.report.card import write_card
from edgekit.report.pages import PAGE, page_of
from edgekit.version import VERSION

if TYPE_CHECKING:
    from edgekit.exporters.check import Verification
    from edgekit.pipeline.account import Account
    from edgekit.pipeline.make import Made
    from edgekit.pipeline.points import Point

KEPT_OUTPUTS: Final = 16
_LIBRARIES = (
    "torch",
    "numpy",
    "litert-torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "nncf",
    "apache-tvm",
    "apache-tvm-ffi",
    "safetensors",
    "pillow",
)


def write_build(
    folder: Path,
    result: BuildResult,
    made: Made,
    verification: Verification,
    stages: Stages,
    account: Account,
    front: Sequence[Point],
) -> None:
    """The whole folder; the float32 reference of a quantised file leaves it."""
    if made.artifact.reference is not None:
        made.artifact.reference.path.unlink()
    x_NHWC, p_NK = kept_outputs(made)
    write_json(folder / "plan.json", result.plan.to_json())
    write_records(folder, result.plan, result.labels, {"x_NHWC": x_NHWC, "p_NK": p_NK}, stages, made.pruned)
    record = result.to_json() | {"verification": verification_record(verification, made)}
    record |= account.to_json() | behind(result.plan, front)
    write_card(folder / "card.md", record, model_card=result.plan.model.card)
    write_report(folder, record)


def verification_record(verification: Verification, made: Made) -> dict[str, Any]:
    return {**verification.to_json(), "slice_difference": made.slice_difference}


def behind(planned: BuildPlan, front: Sequence[Point]) -> dict[str, Any]:
    """Of the record: what else could have been built, and what the supernet learnt from."""
    card = planned.model.card
    return {
        "front": [point.to_json() for point in front],
        "supernet": {"name": planned.model.name, "data": card["data"], "licence": card["licence"]},
    }


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """The page, and the last file of a folder, with the sums of all others."""
    write_bytes(folder / PAGE, page_of(record).encode())
    write_json(folder / "report.json", {**record, "sha256": sums_of(folder)})


def sums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in the folder and below, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def write_networks(
    folder: Path,
    networks: Mapping[str, Made],
    plan_record: Mapping[str, Any],
    planned: BuildPlan,
    labels: Sequence[str],
    stages: Stages,
) -> None:
    """As `write_records`, of several networks, whose own folders leave it."""
    kept: dict[str, NDArray[np.float32]] = {}
    for name, one in networks.items():
        kept[f"{name}.x_NHWC"], kept[f"{name}.p_NK"] = kept_outputs(one)
        shutil.rmtree(folder / name)
    write_json(folder / "plan.json", plan_record)
    write_records(folder, planned, labels, kept, stages)


def kept_outputs(made: Made) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(`x_NHWC`, `p_NK`): some pictures and what the file makes of them, to be compared on another day."""
    path, signature = made.artifact.path, made.artifact.signature
    kept_NHWC = np.ascontiguousarray(made.calibration_NHWC[:KEPT_OUTPUTS])
    return kept_NHWC, np.ascontiguousarray(exporter_of(path).run(path, kept_NHWC, signature=signature).outputs)


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
    write_json(folder / "recipe.json", recipe_of(planned, pruned))
    write_json(folder / "env.json", environment())
    write_bytes(folder / "log.txt", ("\n".join(stages.log) + "\n").encode())
    write_kit(folder)


def recipe_of(planned: BuildPlan, pruned: Shrunk | None = None) -> dict[str, Any]:
    passes: list[dict[str, Any]] = [{"id": "fold::batch_norm"}]
    if pruned is not None:
        passes += Recipe(passes=pruned.passes).to_json()["passes"]
    if planned.target.precision is Precision.INT8:
        passes.append({"id": exporter_for(planned.target.runtime).quantizers[0]})
    return {"schema_version": 1, "passes": passes}


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
