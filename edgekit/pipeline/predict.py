"""Runs the exported file of a build on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.images import read_image, to_float
from edgekit.exporters.early_exit import PROGRAM, EarlyExitProgram, answer
from edgekit.exporters.exporter import MODEL_FILES, exporter_of

if TYPE_CHECKING:
    from edgekit.exporters.metadata import Metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The likeliest output for one picture; `ms` is the inference on this machine, picture reading aside.

    `answered_by` names the network of a build with an early exit; `ms` is then that of all networks that saw the picture.
    """

    file: str
    label: str
    probability: float
    ms: float
    answered_by: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def predict(
    folder: Path | str, images: Sequence[Path], *, threads: int = 1, variant: str | None = None
) -> tuple[Prediction, ...]:
    """`folder` is a build folder, or a model file that edgekit wrote; labels and preprocessing come out of the file.

    Of a build with variants the slowest and best answers, or the one named `variant`; one with an early exit runs its host program,
    unless a `variant` is named. Raises BadInputError for a folder without a model, a damaged file, and unreadable pictures,
    UsageError for a variant that the file does not have.
    """
    if variant is None and (Path(folder) / PROGRAM).is_file():
        return _predict_by_program(Path(folder), images, threads)
    path, signature = network_of(Path(folder), variant)
    exporter = exporter_of(path)
    metadata = exporter.read_metadata(path, signature=signature)
    if not images:
        return ()
    run = exporter.run(path, _pictures(path, metadata, images), threads=threads, signature=signature)
    p_NK = run.outputs if metadata.probabilities else _softmax(run.outputs)
    return tuple(
        Prediction(
            file=str(image), label=metadata.labels[int(p_K.argmax())], probability=float(p_K.max()), ms=float(ms)
        )
        for image, p_K, ms in zip(images, p_NK, run.times_ms, strict=True)
    )


def _predict_by_program(folder: Path, images: Sequence[Path], threads: int) -> tuple[Prediction, ...]:
    program = EarlyExitProgram.read(folder)
    paths = [_existing(folder / stage.file) for stage in program.stages]
    metadata = [
        exporter_of(path).read_metadata(path, signature=stage.signature)
        for path, stage in zip(paths, program.stages, strict=True)
    ]
    if not images:
        return ()
    pictures = [_pictures(path, one, images) for path, one in zip(paths, metadata, strict=True)]
    answers = answer(program.load(folder, threads=threads), pictures, threshold=program.threshold)
    return tuple(
        Prediction(
            file=str(image),
            label=metadata[stage].labels[int(p_K.argmax())],
            probability=float(p_K.max()),
            ms=float(ms),
            answered_by=program.stages[stage].name,
        )
        for image, p_K, stage, ms in zip(images, answers.p_NK, answers.stage_N, answers.times_ms, strict=True)
    )


def _pictures(path: Path, metadata: Metadata, images: Sequence[Path]) -> NDArray[np.float32]:
    """`x_NHWC` as the network takes them. Raises BadInputError."""
    if metadata.preprocessing is None or not metadata.labels:
        raise BadInputError(
            f"{path} has no labels: it is not a classifier of pictures",
            hint="give the file of a classifier of pictures",
        )
    pixels = np.stack([read_image(Path(image), metadata.preprocessing) for image in images])
    return to_float(pixels, metadata.preprocessing)


def _softmax(y_NK: NDArray[np.float32]) -> NDArray[np.float32]:
    e_NK = np.exp(y_NK - y_NK.max(1, keepdims=True))
    return np.asarray(e_NK / e_NK.sum(1, keepdims=True), np.float32)


def network_of(path: Path, variant: str | None = None) -> tuple[Path, str | None]:
    """The file of a build folder, or the file itself, and the signature of the network in it; the slowest and best where no
    `variant` is named. Raises BadInputError where there is no such file, UsageError where an early exit has no such network."""
    if (path / PROGRAM).is_file():
        stages = {stage.name: stage for stage in EarlyExitProgram.read(path).stages}
        *_, last = stages
        if variant is not None and variant not in stages:
            raise UsageError(f'{path} has no network "{variant}"', hint=f"it has {', '.join(stages)}")
        stage = stages[variant or last]
        return _existing(path / stage.file), stage.signature
    places = [path / name for name in MODEL_FILES] if path.is_dir() else [path]
    there = [place for place in places if place.is_file()]
    return _existing((there or places)[0]), variant


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BadInputError(f"{path} does not exist", hint="give a model file, or a folder that `edgekit build` wrote")
    return path
