"""The user's own classes: a folder of pictures for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.confusion import Confusion
from edgekit.core.errors import BadInputError
from edgekit.core.images import list_images, read_image
from edgekit.core.model import Preprocessing
from edgekit.core.quantity import Evidence, Quantity

if TYPE_CHECKING:
    from torch import Tensor

    from edgekit.assembler.assembler import Assembler
    from edgekit.supernet.storage import SupernetFolder
    from edgekit.supernet.subnet import Subnet
    from edgekit.tasks.task import Task

NAMED = 5
_HINT = "give a folder of pictures for each class, such as my_parts/bolt/1.jpg and my_parts/nut/1.jpg"


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Pictures `x_NHWC` uint8 RGB at a supernet's size, and the class of each, `y_N` by the order of `classes`.

    `copies` pictures repeated the pixels of another one of their class and are not among them.
    """

    folder: Path
    classes: tuple[str, ...]
    x_NHWC: NDArray[np.uint8]
    y_N: NDArray[np.int64]
    copies: int

    @property
    def text(self) -> str:
        return f"{self.folder.name}: {', '.join(self.classes)}"

    @property
    def pictures(self) -> dict[str, int]:
        """How many there are of each class."""
        return dict(zip(self.classes, np.bincount(self.y_N).tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        digest = sha256("\n".join(self.classes).encode() + self.y_N.tobytes() + self.x_NHWC.tobytes())
        return {
            "text": self.text,
            "kind": "own classes",
            "outputs": list(self.classes),
            "examples": str(self.folder),
            "pictures": self.pictures,
            "copies": self.copies,
            "pixels_sha256": digest.hexdigest(),
        }


def read_examples(folder: Path, *, size: int, most_classes: int) -> Examples:
    """`folder/<class>/` and what lies below it, scaled to `size` x `size`; classes in the order of their names.

    Pictures are the same where the network sees the same: pixel by pixel, at this size. Raises BadInputError for fewer than
    two or more than `most_classes` classes, for a class of fewer than two pictures, for pictures that cannot be read (all
    are named) or lie outside a class, and for the same picture in two classes.
    """
    paths = list_images(folder)
    names = [path.relative_to(folder).parts[0] for path in paths]
    stray = [str(path) for path in paths if path.parent == folder]
    if stray:
        raise BadInputError(f"pictures that are not in the folder of a class: {_some(stray)}", hint=_HINT)
    empty = [
        below.name
        for below in sorted(folder.iterdir())
        if below.is_dir() and not below.name.startswith(".") and below.name not in names
    ]
    classes = tuple(sorted(set(names)))
    unprintable = [repr(name) for name in classes if not name.isprintable()]
    if empty or unprintable:
        what = f"hold no picture: {_some(empty)}" if empty else f"have names that no line holds: {_some(unprintable)}"
        raise BadInputError(f"classes in {folder} that {what}", hint=_HINT)
    if not 2 <= len(classes) <= most_classes:
        raise BadInputError(
            f"{folder} holds pictures of {len(classes)} classes, expected 2 to {most_classes}, the number of labels of "
            "the supernet",
            hint=_HINT,
        )
    return _told_apart(folder, classes, [classes.index(name) for name in names], paths, size)


def _told_apart(folder: Path, classes: tuple[str, ...], y: list[int], paths: tuple[Path, ...], size: int) -> Examples:
    kept: dict[bytes, tuple[int, Path]] = {}
    pixels, unreadable, copies = [], [], 0
    for c, path in zip(y, paths, strict=True):
        try:
            x_HWC = read_image(path, Preprocessing(height=size, width=size))
        except BadInputError as error:
            unreadable.append(error.message)
            continue
        first_c, first = kept.setdefault(x_HWC.tobytes(), (c, path))
        if first_c != c:
            raise BadInputError(
                f"{first} and {path} are the same picture in different classes", hint="remove one of them"
            )
        if first is path:
            pixels.append(x_HWC)
        else:
            copies += 1
    if unreadable:
        raise BadInputError(_some(unreadable), hint="remove or replace these files")
    y_N = np.array([c for c, _ in kept.values()], np.int64)
    for name, count in zip(classes, np.bincount(y_N), strict=True):
        if count < 2:
            raise BadInputError(
                f'class "{name}" in {folder} has only one picture, not counting copies',
                hint="give at least two different ones; 5 to 50 are useful",
            )
    return Examples(folder=folder, classes=classes, x_NHWC=np.stack(pixels), y_N=y_N, copies=copies)


def _some(texts: list[str]) -> str:
    return ", ".join(texts[:NAMED]) + (f" and {len(texts) - NAMED} more" if len(texts) > NAMED else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class LearntHead:
    """What the report says of a head learnt from examples; `recalls` are those of left-out pictures by class, and
    `confusion` which class these were taken for."""

    ridge: float
    stand_ins: str
    pictures: Mapping[str, int]
    recalls: Mapping[str, float]
    confusion: Confusion

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LearntHead:
        return cls(
            ridge=record["ridge"],
            stand_ins=record["bricks_chosen_for"],
            pictures=record["pictures"],
            recalls=record["leave_one_out_recalls"],
            confusion=Confusion.from_json(record["leave_one_out_confusion"]),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "regularised linear discriminant, closed form",
            "ridge": self.ridge,
            "bricks_chosen_for": self.stand_ins,
            "pictures": dict(self.pictures),
            "leave_one_out_recalls": dict(self.recalls),
            "leave_one_out_confusion": self.confusion.to_json(),
        }


def stand_ins_of(examples: Examples, assembler: Assembler, model: SupernetFolder) -> Task:
    """The task of the labels that the supernet takes the classes for: what bricks are chosen for."""
    from edgekit.assembler.own_classes.learning import stand_ins

    x_NCHW = _input(examples.x_NHWC, model.spec.image_size)
    return stand_ins(assembler.supernet, model.vocabulary, x_NCHW, examples.y_N)


def learn(examples: Examples, subnet: Subnet, *, size: int, stand_ins: str) -> tuple[Subnet, Quantity, LearntHead]:
    """(the subnet with a head for the examples' classes, its accuracy on left-out pictures, what the report says of it).

    `size` is the subnet's input, `stand_ins` the text of the task that its bricks were chosen for.
    """
    from edgekit.assembler.own_classes.learning import with_own_head

    taught, head = with_own_head(subnet, _input(examples.x_NHWC, size), examples.y_N)
    left_out = head.left_out
    accuracy = Quantity(
        value=left_out.accuracy,
        unit="fraction",
        evidence=Evidence.MEASURED,
        source=f"leave-one-out on {len(examples.y_N)} pictures of {examples.folder.name}, fp32, Wilson 95 %; "
        "pictures from elsewhere may be harder",
        interval=left_out.interval,
    )
    learnt = LearntHead(
        ridge=head.ridge,
        stand_ins=stand_ins,
        pictures=examples.pictures,
        recalls=dict(zip(examples.classes, left_out.recalls, strict=True)),
        confusion=Confusion.of(left_out.y_N, left_out.answers_N, examples.classes),
    )
    return taught, accuracy, learnt


def _input(x_NHWC: NDArray[np.uint8], size: int) -> Tensor:
    """`x_NCHW` float32 in [0, 1] of this size."""
    import torch

    from edgekit.supernet.resizing import resized

    return resized(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).float() / 255, size).contiguous()
