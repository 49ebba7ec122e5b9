"""Pictures whose class is known, and how well networks and files answer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.confusion import Confusion
from edgekit.core.errors import BadInputError
from edgekit.core.images import list_images, read_image, to_float
from edgekit.core.model import Preprocessing
from edgekit.core.names import did_you_mean
from edgekit.core.quantity import Evidence, Quantity
from edgekit.exporters.exporter import exporter_of

if TYPE_CHECKING:
    from torch import nn

    from edgekit.exporters.artifact import Artifact

BATCH: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledPictures:
    """`y_N` is the class of each of the `paths`, by the order of `labels`, the outputs of a network."""

    folder: Path
    labels: tuple[str, ...]
    paths: tuple[Path, ...]
    y_N: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """With the hash of all classes and files. Raises BadInputError for what cannot be read."""
        digest = sha256(self.y_N.tobytes())
        for path in self.paths:
            digest.update(sha256(_content(path)).digest())
        return {"folder": str(self.folder), "pictures": len(self.paths), "sha256": digest.hexdigest()}

    def batches(self, preprocessing: Preprocessing) -> Sequence[NDArray[np.float32]]:
        """`x_NHWC` of all pictures, BATCH at a time. Raises BadInputError for what cannot be read."""
        pixels = [read_image(path, preprocessing) for path in self.paths]
        return [
            to_float(np.stack(pixels[start : start + BATCH]), preprocessing) for start in range(0, len(pixels), BATCH)
        ]

    def answered_by_file(self, artifact: Artifact, preprocessing: Preprocessing) -> Confusion:
        exporter = exporter_of(artifact.path)
        answers = [
            exporter.run(artifact.path, x_NHWC, signature=artifact.signature).outputs.argmax(1)
            for x_NHWC in self.batches(preprocessing)
        ]
        return Confusion.of(self.y_N, np.concatenate(answers), self.labels)

    def answered_by_module(self, module: nn.Module, preprocessing: Preprocessing) -> Confusion:
        """In torch, fp32."""
        import torch

        with torch.inference_mode():
            answers = [
                module(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous()).argmax(1).numpy()
                for x_NHWC in self.batches(preprocessing)
            ]
        return Confusion.of(self.y_N, np.concatenate(answers), self.labels)

    def accuracy(self, confusion: Confusion, of: str) -> Quantity:
        """`of` names what answered."""
        return Quantity(
            value=confusion.accuracy,
            unit="fraction",
            evidence=Evidence.MEASURED,
            source=f"{of} on {confusion.pictures} labelled pictures of {self.folder}, Wilson 95 %",
            interval=confusion.interval,
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"cannot read the picture {path}: {error.strerror}", hint="remove or replace the file"
        ) from error


def read_labelled(folder: Path, labels: tuple[str, ...]) -> LabelledPictures:
    """`folder/<class>/` and what lies below it, classes named as the outputs; an output may have no pictures.

    Raises BadInputError for a class that is no output, and for pictures outside a class.
    """
    paths = list_images(folder)
    names = [path.relative_to(folder).parts[0] for path in paths]
    hint = f"give a folder of pictures for each output, such as {folder / labels[0]}/1.png"
    if any(path.parent == folder for path in paths):
        raise BadInputError(f"{folder} holds pictures that lie in the folder of no class", hint=hint)
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise BadInputError(
            f'{folder / unknown[0]}: the network has no output "{unknown[0]}"', hint=did_you_mean(unknown[0], labels)
        )
    return LabelledPictures(
        folder=folder, labels=labels, paths=paths, y_N=np.array([labels.index(name) for name in names], np.int64)
    )
