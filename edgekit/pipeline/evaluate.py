"""The accuracy of a supernet, or of one of its subnets, on labelled images."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.core.quantity import Evidence, Quantity
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import WEIGHTS, open_supernet


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRecall:
    label: str
    images: int
    recall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Share of images whose likeliest label of the whole vocabulary is theirs, fp32."""

    model: str
    genotype: str
    images: int
    accuracy: Quantity
    recalls: tuple[LabelRecall, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "genotype": self.genotype,
            "images": self.images,
            "accuracy": self.accuracy.to_json(),
            "recalls": [asdict(recall) for recall in self.recalls],
        }


def evaluate(model: str | Path, data: Path | str, *, split: str = "test", genotype: str | None = None) -> Evaluation:
    """On the images of one split at `data`, in a form of docs/data.md.

    Raises UsageError for an unknown supernet, BadInputError for bad data.
    """
    import torch

    from edgekit.assembler.training.data import read_labelled

    folder = open_supernet(model)
    chosen = folder.spec.full if genotype is None else folder.spec.check(Genotype.parse(genotype))
    supernet = folder.load(folder.read_tensors(WEIGHTS))
    labels = folder.vocabulary.labels
    dataset = read_labelled(Path(data), split, image_size=folder.spec.image_size, vocabulary=folder.vocabulary)
    y_N = torch.from_numpy(dataset.y_N)
    with torch.inference_mode():
        answers_N = torch.cat(
            [
                supernet((batch.float() / 255).contiguous(memory_format=torch.channels_last), chosen).argmax(1)
                for batch in torch.split(torch.from_numpy(dataset.x_NCHW), 500)
            ]
        )
    images = y_N.bincount(minlength=len(labels))
    right = y_N[answers_N == y_N].bincount(minlength=len(labels))
    accuracy = float(right.sum() / images.sum())
    error = 1.96 * math.sqrt(max(accuracy * (1 - accuracy), 1e-12) / len(dataset))
    return Evaluation(
        model=folder.name,
        genotype=str(chosen),
        images=len(dataset),
        accuracy=Quantity(
            value=accuracy,
            unit="fraction",
            evidence=Evidence.MEASURED,
            source=f"{split}, {len(dataset)} images, torch fp32, 95 % interval of the binomial",
            interval=(max(0.0, accuracy - error), min(1.0, accuracy + error)),
        ),
        recalls=tuple(
            LabelRecall(label=label.name, images=int(n), recall=float(r) / int(n))
            for label, n, r in zip(labels, images, right, strict=True)
            if n
        ),
    )
