"""What is wrong and what is odd in the images of a training, said before it starts."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.assembler.training.data.dataset import Dataset, with_copies_grouped
from edgekit.assembler.training.data.decoding import Decoded
from edgekit.assembler.training.data.source import Source
from edgekit.core.errors import BadInputError
from edgekit.tasks.vocabulary import Vocabulary

NAMED = 10
FEW_IMAGES = 20
IMBALANCE = 10
SMALL_SIDE = 0.5  # of the size that the recipe asks for


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelCount:
    """Images of a label, and how many of them can be told from the others: groups, and images without one."""

    label: str
    images: int
    units: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """The same pixels under several labels."""

    places: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """Counted over what can be trained with: `images` are readable and no part of a conflict.

    `copies` repeat the pixels of another image of their label; `small` had less than half the pixels a side that the
    recipe asks for; `ignored` are files that are no labelled pictures.
    """

    path: str
    form: str
    image_size: int
    vocabulary_made: bool
    images: int
    counts: tuple[LabelCount, ...]
    unreadable: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    copies: int
    small: int
    ignored: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the data is refused, unless what is bad shall be skipped."""
        found = []
        if self.unreadable:
            found.append(cannot_read(self.path, self.unreadable))
        if self.conflicts:
            named = tuple(f"{' = '.join(each.places)}: {', '.join(each.labels)}" for each in self.conflicts)
            found.append(f"the same picture under several labels in {self.path}: {_listed(named)}")
        return tuple(found)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What makes a training of these labels impossible."""
        if len(self.counts) == 1:
            return (f'{self.path} has a single label "{self.counts[0].label}", and no other to tell it from',)
        return tuple(
            f'{self.path} has {what} of label {index} "{count.label}"'
            for index, count in enumerate(self.counts)
            if (what := _lack(count))
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a training can live with, and nobody should be surprised by."""
        few = tuple(f"{count.label} ({count.images})" for count in self.counts if count.images < FEW_IMAGES)
        most, least = max(count.images for count in self.counts), min(count.images for count in self.counts)
        found = []
        if self.vocabulary_made:
            found.append(f"the vocabulary was made from the {len(self.counts)} class names of the data")
        if few:
            found.append(f"labels with fewer than {FEW_IMAGES} images, {_named(few)}")
        if most > IMBALANCE * least:
            found.append(f"the label with most images has {most:,}, the one with fewest {least:,}")
        if self.small:
            found.append(f"images of less than half of {self.image_size} pixels a side, scaled up: {self.small:,}")
        if self.copies:
            found.append(f"copies of other images, kept on one side of the split: {self.copies:,}")
        if self.ignored:
            found.append(f"files that are not labelled pictures, left out, {_named(self.ignored)}")
        return tuple(found)

    def check(self, *, skip_bad: bool) -> None:
        """Raises BadInputError where the data cannot be trained with, or unless `skip_bad` where some of it is bad."""
        if self.faults and not skip_bad:
            raise BadInputError("\n".join(self.faults), hint="repair or remove them, or leave them out with --skip-bad")
        if self.lacks:
            more = f" (and the like of {len(self.lacks) - 1} more labels)" if len(self.lacks) > 1 else ""
            raise BadInputError(
                self.lacks[0] + more,
                hint="give images of two labels or more, and of at least a few objects (tracks) of each",
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"remarks": self.remarks}


def checked(source: Source, decoded: Decoded, vocabulary: Vocabulary, *, made: bool) -> tuple[Dataset, DataReport]:
    """What can be trained with, copies in one group, and the report of it and of the rest.

    Images are the same where the network sees the same: pixel by pixel, at the size of the recipe. The memory of `decoded`
    is used on; it is of no use afterwards.
    """
    dataset = Dataset(x_NCHW=decoded.x_NCHW, y_N=source.y_N, group_N=source.group_N)
    places = np.array(source.places, object)
    readable = decoded.side_N > 0
    if not readable.all():
        dataset, places = dataset.compacted(readable), places[readable]
    picture_N = _numbered_by_pixels(dataset.x_NCHW)
    conflicts = _conflicts(dataset.y_N, picture_N, places, vocabulary)
    single = np.bincount(np.unique(np.stack([picture_N, dataset.y_N]), axis=1)[0])[picture_N] == 1
    if not single.all():
        dataset, picture_N = dataset.compacted(single), picture_N[single]
    copies = len(dataset) - len(np.unique(picture_N))
    if copies:
        dataset = with_copies_grouped(dataset, picture_N)
    side_N = decoded.side_N[readable][single]
    return dataset, DataReport(
        path=str(source.path),
        form=source.form,
        image_size=decoded.x_NCHW.shape[2],
        vocabulary_made=made,
        images=len(dataset),
        counts=tuple(_count(dataset, label.index, label.name) for label in vocabulary.labels),
        unreadable=decoded.unreadable,
        conflicts=conflicts,
        copies=copies,
        small=int((side_N < SMALL_SIDE * decoded.x_NCHW.shape[2]).sum()),
        ignored=source.ignored,
    )


def cannot_read(path: str, unreadable: tuple[str, ...]) -> str:
    return f"pictures in {path} that cannot be read: {_listed(unreadable)}"


def _listed(lines: tuple[str, ...]) -> str:
    """How many, and the first NAMED of them, a line each."""
    more = ("...",) if len(lines) > NAMED else ()
    return "\n    ".join((f"{len(lines):,}", *lines[:NAMED], *more))


def _named(texts: tuple[str, ...]) -> str:
    return f"{len(texts):,}: " + ", ".join(texts[:NAMED]) + (", ..." if len(texts) > NAMED else "")


def _lack(count: LabelCount) -> str:
    match (count.images, count.units):
        case (0, _):
            return "no image"
        case (1, _):
            return "a single image, which is held out, so no image to train with,"
        case (_, 1):
            return "a single group (track, or copies of one picture), which is held out, so no image to train with,"
        case _:
            return ""


def _count(dataset: Dataset, index: int, label: str) -> LabelCount:
    of_label = dataset.y_N == index
    units = len(np.unique(dataset.units[of_label]))
    return LabelCount(label=label, images=int(of_label.sum()), units=units)


def _numbered_by_pixels(x_NCHW: NDArray[np.uint8]) -> NDArray[np.int64]:
    numbers: dict[bytes, int] = {}
    digests = (hashlib.blake2b(x_CHW, digest_size=16).digest() for x_CHW in x_NCHW)
    return np.array([numbers.setdefault(digest, len(numbers)) for digest in digests], np.int64)


def _conflicts(
    y_N: NDArray[np.int64], picture_N: NDArray[np.int64], places: NDArray[np.object_], vocabulary: Vocabulary
) -> tuple[Conflict, ...]:
    pictures = np.unique(np.stack([picture_N, y_N]), axis=1)[0]
    found = []
    for picture in np.unique(pictures[1:][np.diff(pictures) == 0]):
        same = picture_N == picture
        labels = tuple(vocabulary.labels[index].name for index in np.unique(y_N[same]))
        found.append(Conflict(places=tuple(places[same].tolist()), labels=labels))
    return tuple(found)
