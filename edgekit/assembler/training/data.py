"""Labelled images for training: Parquet in the `datasets` convention, split by a group so that no object is on both sides."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Images `x_NCHW` uint8 RGB, labels `y_N`, and the group of each image (-1: none known)."""

    x_NCHW: NDArray[np.uint8]
    y_N: NDArray[np.int64]
    group_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y_N)

    def take(self, chosen: NDArray[np.bool_]) -> Dataset:
        return Dataset(x_NCHW=self.x_NCHW[chosen], y_N=self.y_N[chosen], group_N=self.group_N[chosen])


def read_parquet(folder: Path, split: str, *, image_size: int, labels: int) -> Dataset:
    """All `{split}*.parquet` of a folder: columns `image` (struct of bytes and path), `label`, and where there is one `track`.

    Raises BadInputError for a missing folder or file, unreadable images, and labels outside the vocabulary.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = sorted(folder.glob(f"{split}*.parquet"))
    if not paths:
        raise BadInputError(f"no {split}*.parquet in {folder}", hint="name a folder of Parquet files with --data")
    images: list[NDArray[np.uint8]] = []
    y: list[int] = []
    group: list[int] = []
    for path in paths:
        try:
            table = pq.read_table(path)
            columns = table.select(["image", "label"]).to_pydict()
        except (OSError, KeyError, pa.ArrowException) as error:
            raise BadInputError(f"cannot read {path}: {error}", hint="expected columns image and label") from error
        for name in {"label", "track"} & {*table.column_names}:
            if not pa.types.is_integer(table[name].type) or table[name].null_count:
                raise BadInputError(
                    f"{path}: column {name} must hold a whole number in every row", hint="number labels and tracks"
                )
        y += columns["label"]
        group += table["track"].to_pylist() if "track" in table.column_names else [-1] * len(table)
        images += _decoded(columns["image"], path, image_size)
    if not y:
        raise BadInputError(f"{split}*.parquet in {folder} hold no rows", hint="give at least one image")
    y_N = np.asarray(y, np.int64)
    if not (y_N.min() >= 0 and y_N.max() < labels):
        raise BadInputError(
            f"labels in {folder} run from {y_N.min()} to {y_N.max()}, the vocabulary has {labels}",
            hint="train with the vocabulary of this data",
        )
    return Dataset(
        x_NCHW=np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)),
        y_N=y_N,
        group_N=np.asarray(group, np.int64),
    )


def _decoded(rows: list[dict[str, bytes]], path: Path, image_size: int) -> Iterator[NDArray[np.uint8]]:
    from PIL import Image

    for number, row in enumerate(rows):
        try:
            image = Image.open(io.BytesIO(row["bytes"])).convert("RGB")
        except (OSError, TypeError, KeyError, Image.DecompressionBombError) as error:
            raise BadInputError(f"{path}, row {number}: not a readable image", hint="remove the row") from error
        if image.size != (image_size, image_size):
            image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
        yield np.asarray(image)


def split_by_group(dataset: Dataset, *, held_out: float, seed: int) -> tuple[Dataset, Dataset]:
    """(kept, held out): about `held_out` of the groups of each label, at least one, never an image of one group on both sides.

    Labels whose images carry no group are split image by image.
    """
    generator = np.random.default_rng(seed)
    held = np.zeros(len(dataset), bool)
    units_N = np.where(dataset.group_N < 0, -1 - np.arange(len(dataset)), dataset.group_N)
    for label in np.unique(dataset.y_N):
        of_label = dataset.y_N == label
        units = np.unique(units_N[of_label])
        chosen = generator.choice(units, max(1, round(held_out * len(units))), replace=False)
        held |= of_label & np.isin(units_N, chosen)
    return dataset.take(~held), dataset.take(held)
