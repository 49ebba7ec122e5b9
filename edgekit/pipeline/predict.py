"""Runs the exported file of a build on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import BadInputError
from edgekit.core.images import read_image, to_float

MODEL_FILE = "model.tflite"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The likeliest output for one picture; `ms` is the inference on this machine, picture reading aside."""

    file: str
    label: str
    probability: float
    ms: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def predict(
    folder: Path | str, images: Sequence[Path], *, threads: int = 1, variant: str | None = None
) -> tuple[Prediction, ...]:
    """`folder` is a build folder or a .tflite file that edgekit wrote; labels and preprocessing come out of the file.

    Of a build with variants the slowest and best answers, or the one named `variant`. Raises BadInputError for a folder
    without a model, a damaged file, and unreadable pictures, UsageError for a variant that the file does not have.
    """
    from edgekit.exporters.metadata import read_metadata
    from edgekit.exporters.runner import run_in_subprocess

    path = model_file(Path(folder))
    metadata = read_metadata(path, signature=variant)
    if not images:
        return ()
    if metadata.preprocessing is None or not metadata.labels:
        raise BadInputError(
            f"{path} does not name what it sees in pictures", hint="name the file of a classifier of pictures"
        )
    pixels = np.stack([read_image(Path(image), metadata.preprocessing) for image in images])
    x_NHWC = to_float(pixels, metadata.preprocessing)
    run = run_in_subprocess(path, x_NHWC, threads=threads, signature=variant)
    return tuple(
        Prediction(
            file=str(image), label=metadata.labels[int(p_K.argmax())], probability=float(p_K.max()), ms=float(ms)
        )
        for image, p_K, ms in zip(images, run.outputs, run.times_ms, strict=True)
    )


def model_file(path: Path) -> Path:
    """The .tflite of a build folder, or the file itself. Raises BadInputError where there is none."""
    found = path / MODEL_FILE if path.is_dir() else path
    if not found.is_file():
        raise BadInputError(f"{found} does not exist", hint="name a model file, or a folder that edgekit build wrote")
    return found
