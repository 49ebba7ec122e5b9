"""From a compressed model to its file: exported, verified number by number, and judged as it will run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.devices.precision import Precision
from edgekit.exporters.layout import to_file
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import Artifact, export
from edgekit.exporters.verify import Verification, verify

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.model import Model
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


class Format(StrEnum):
    TFLITE = "tflite"
    ONNX = "onnx"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Way:
    """How a format is exported, laid out and verified."""

    laid_out: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    exported: Callable[[NDArray[np.float32]], Artifact]
    verified: Callable[..., Verification]


def finish(
    model: Model, calibration: Samples, accountant: Accountant, folder: Path, format_: Format = Format.TFLITE
) -> Finished:
    """Writes `model.tflite` or `model.onnx`. Raises ConversionError, VerificationError, and MissingExtraError for ONNX without its
    libraries."""
    from edgekit.passes.judgement import judge

    way = _way(model, folder, format_)
    calibration_N = way.laid_out(calibration.x_N.numpy())
    artifact = way.exported(calibration_N)
    verification = way.verified(
        model,
        artifact,
        calibration_N[:KEPT_OUTPUTS],
        min_agreement=MIN_AGREEMENT,
        min_cosine=MIN_COSINE,
        min_reproduced=MIN_REPRODUCED,
    )
    x_N = way.laid_out(accountant.evaluation.x_N.numpy())
    outputs_N = run_in_subprocess(artifact.path, x_N, timeout_s=RUN_TIMEOUT_S).outputs
    if artifact.reference is not None:
        artifact.reference.path.unlink()
    reference_N = way.laid_out(accountant.reference.numpy())
    y_N = accountant.evaluation.y_N
    return Finished(
        model=model,
        artifact=artifact,
        verification=verification,
        judgement=judge(outputs_N, reference_N, None if y_N is None else y_N.numpy()),
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


def _way(model: Model, folder: Path, format_: Format) -> _Way:
    if format_ is Format.TFLITE:
        return _Way(
            laid_out=to_file,
            exported=lambda x_N: export(model, precision=Precision.FP32, calibration_N=x_N, folder=folder),
            verified=verify,
        )
    from edgekit.exporters.onnx_file import export_onnx
    from edgekit.exporters.verify_onnx import verify_onnx

    return _Way(
        laid_out=lambda x_N: x_N,
        exported=lambda x_N: export_onnx(model, calibration_N=x_N, folder=folder),
        verified=verify_onnx,
    )
