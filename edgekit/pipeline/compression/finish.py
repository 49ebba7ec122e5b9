"""From a compressed model to its file: exported, verified number by number, and judged as it will run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.check import Verification
from edgekit.exporters.exporter import exporter_for
from edgekit.exporters.layout import to_file
from edgekit.exporters.verify import verify
from edgekit.pipeline.compression.account import precision_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.model import Model
    from edgekit.devices.target import Target
    from edgekit.passes.contract import Samples
    from edgekit.passes.judgement import Judgement
    from edgekit.pipeline.compression.account import Accountant

MIN_AGREEMENT, MIN_COSINE, MIN_REPRODUCED = 0.8, 0.95, 0.8
RUN_TIMEOUT_S = 1800
KEPT_OUTPUTS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """`judgement` is that of the file itself on the evaluation inputs; `kept` are some inputs as it takes them, and its answers."""

    model: Model
    artifact: Artifact
    verification: Verification
    judgement: Judgement
    kept: dict[str, NDArray[np.float32]]
    notes: tuple[str, ...]


def finish(model: Model, target: Target, calibration: Samples, accountant: Accountant, folder: Path) -> Finished:
    """Writes the file of the target's runtime, in the precision that the model says. Raises ConversionError, VerificationError, and
    MissingExtraError without the runtime's libraries."""
    from edgekit.passes.judgement import judge

    exporter = exporter_for(target.runtime)
    calibration_N = to_file(calibration.x_N.numpy())
    meant = replace(target, precision=precision_of(model, target.precision))
    artifact = exporter.export(model, target=meant, calibration_N=calibration_N, folder=folder)
    verification = verify(
        model,
        artifact,
        calibration_N[:KEPT_OUTPUTS],
        min_agreement=MIN_AGREEMENT,
        min_cosine=MIN_COSINE,
        min_reproduced=MIN_REPRODUCED,
    )
    x_N = to_file(accountant.evaluation.x_N.numpy())
    outputs_N = exporter.run(artifact.path, x_N, timeout_s=RUN_TIMEOUT_S).outputs
    if artifact.reference is not None:
        artifact.reference.path.unlink()
    y_N = accountant.evaluation.y_N
    return Finished(
        model=model,
        artifact=artifact,
        verification=verification,
        judgement=judge(outputs_N, to_file(accountant.reference.numpy()), None if y_N is None else y_N.numpy()),
        kept={"x_NHWC": x_N[:KEPT_OUTPUTS], "p_NK": outputs_N[:KEPT_OUTPUTS]},
        notes=(*verification.notes, *_of_zeros(model, artifact)),
    )


def _of_zeros(model: Model, artifact: Artifact) -> tuple[str, ...]:
    """Whether kernels for sparse weights take the file of a model with masks."""
    if not model.masks or artifact.path.suffix != ".tflite":
        return ()
    from edgekit.exporters.sparse_kernels import sparse_obstacle

    if artifact.precision is not Precision.FP32:
        return ("XNNPACK has kernels for zeros in float32 alone: in int8 the zeros of the masks save no time",)
    obstacle = sparse_obstacle(artifact.path.read_bytes())
    if obstacle:
        return (f"the zeros of the masks save no time: {obstacle}",)
    return (
        "XNNPACK skips the zeros of 1x1 convolutions on Arm, with fewer instructions than predicted here; never on x86",
    )
