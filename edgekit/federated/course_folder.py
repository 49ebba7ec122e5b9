"""What a finished course leaves: the learnt network as a program, and all that a build or a reader needs to know of it."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from edgekit.core.errors import BadInputError
from edgekit.core.records import read_json, write_bytes, write_json
from edgekit.federated.layout import Layout
from edgekit.federated.privacy import Privacy, epsilon
from edgekit.federated.programs import write_program
from edgekit.federated.settings import Settings
from edgekit.federated.start import Start
from edgekit.federated.state import RoundRecord, State
from edgekit.pruning.masks import kept
from edgekit.report.federated_card import write_federated_card
from edgekit.report.federated_page import write_federated_page

SCHEMA = 1
NETWORK, PICTURES, REPORT = "network.pt2", "pictures.npz", "report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CourseResult:
    """`kept` of `weights` are left, beside `others` parameters; `accuracy` is on the server's own pictures, `epsilon` that of
    differential privacy for one client at `delta`, where noise was added."""

    folder: Path
    settings: Settings
    origin: str
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    kept: int
    weights: int
    others: int
    records: tuple[RoundRecord, ...]
    notes: tuple[str, ...]
    accuracy: float | None
    epsilon: float | None = None
    delta: float | None = None

    @property
    def traffic_bytes(self) -> int:
        return sum(one.down_bytes + one.up_bytes for one in self.records)

    @property
    def dense_traffic_bytes(self) -> int:
        """What the same rounds cost dense federated averaging: all parameters in both directions."""
        return sum(8 * (self.weights + self.others) * len(one.clients) for one in self.records)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA,
            "folder": str(self.folder),
            "settings": self.settings.to_json(),
            "origin": self.origin,
            "labels": list(self.labels),
            "input_shape": list(self.input_shape),
            "kept": self.kept,
            "weights": self.weights,
            "others": self.others,
            "accuracy": self.accuracy,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "traffic_bytes": self.traffic_bytes,
            "dense_traffic_bytes": self.dense_traffic_bytes,
            "notes": list(self.notes),
            "rounds": [asdict(one) for one in self.records],
        }


class _Probabilities(nn.Module):
    def __init__(self, logits: nn.Module) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x_NCHW: Tensor) -> Tensor:
        p_NK: Tensor = self.logits(x_NCHW).softmax(1)
        return p_NK


def write_course(folder: Path, begin: Start, settings: Settings, state: State) -> CourseResult:
    """`begin.module` has the learnt weights and gives logits; the program gives probabilities."""
    layout = Layout.of(begin.module)
    noised = settings.noise_multiplier > 0
    result = CourseResult(
        folder=folder,
        settings=settings,
        origin=begin.origin,
        labels=begin.labels,
        input_shape=begin.input_shape,
        kept=kept(state.masks),
        weights=layout.weights,
        others=layout.others,
        records=tuple(state.records),
        notes=tuple(state.notes),
        accuracy=next((one.accuracy for one in reversed(state.records) if one.accuracy is not None), None),
        epsilon=spent(settings, state) if noised else None,
        delta=settings.delta if noised else None,
    )
    write_program(_Probabilities(begin.module), begin.input_shape, folder / NETWORK)
    write_pictures(folder / PICTURES, begin.x_NCHW)
    write_bytes(folder / "labels.txt", "".join(f"{label}\n" for label in begin.labels).encode())
    write_federated_card(folder / "card.md", result.to_json())
    write_federated_page(folder / "report.html", result.to_json())
    write_json(folder / REPORT, result.to_json())
    return result


def spent(settings: Settings, state: State) -> float:
    """Epsilon against the server, of the client that released most. Raises MissingExtraError without dp-accounting."""
    privacy = Privacy(clip=settings.clip, noise_multiplier=settings.noise_multiplier, delta=settings.delta)
    return epsilon(privacy, max(state.releases.values(), default=0))


def write_pictures(path: Path, x_NCHW: Tensor, y_N: Tensor | None = None) -> None:
    content = io.BytesIO()
    x_N = x_NCHW.numpy().astype(np.float32)
    if y_N is None:
        np.savez_compressed(content, x=x_N)
    else:
        np.savez_compressed(content, x=x_N, y=y_N.numpy())
    write_bytes(path, content.getvalue())


def read_course(folder: Path) -> tuple[tuple[str, ...], int]:
    """Its labels, and how many pixels a side of a picture has. Raises BadInputError where the folder holds no finished course."""
    if not (folder / NETWORK).is_file():
        raise BadInputError(
            f"{folder} holds no finished course ({NETWORK} is missing)",
            hint="give the folder of `edgekit federated simulate` or `server`; to go on with a course, give its command again",
        )
    report = read_json(folder / REPORT, schema_version=SCHEMA)
    return tuple(report["labels"]), int(report["input_shape"][1])
