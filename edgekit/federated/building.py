"""From a finished course to a verified file: the way of a compression, whose passes fold normalisation and quantise."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from edgekit.devices.precision import Precision
from edgekit.devices.target import parse_target
from edgekit.exporters.exporter import exporter_for
from edgekit.federated.course_folder import NETWORK, PICTURES, read_course, write_pictures
from edgekit.federated.datasets import own_samples
from edgekit.pipeline.compress import CompressionResult, compress


def build_learnt(
    course: Path,
    *,
    target: str,
    output: Path,
    data: Path | None = None,
    board: str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _stage: None,
) -> CompressionResult:
    """Judged on labelled `data`, or without it by how often it agrees with the learnt network on pictures of nobody's data.

    Raises BadInputError where `course` holds no finished course, and whatever a compression raises.
    """
    labels, size = read_course(course)
    parsed = parse_target(target)
    passes = ["fold::batch_norm"]
    if parsed.precision is Precision.INT8:
        passes.append(exporter_for(parsed.runtime).quantizers[0])
    with tempfile.TemporaryDirectory() as folder:
        pictures = course / PICTURES
        if data is not None:
            pictures = Path(folder) / f"{data.stem}.npz"
            samples = own_samples(data, labels, size)
            write_pictures(pictures, samples.inputs(torch.arange(len(samples)), None), samples.y_N)
        return compress(
            str(course / NETWORK),
            data=pictures,
            labels=labels,
            passes=passes,
            target=target,
            board=board,
            output=output,
            overwrite=overwrite,
            seed=seed,
            progress=progress,
        )
