"""Labelled pictures as they lie on disk, whatever their form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FORMS = "a folder with a folder of pictures for each class, Parquet with the columns image and label, or an .npz with x and y"

Content = Path | bytes | NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Pictures that are not decoded yet, in a fixed order.

    `y_N` numbers the classes and `names` names them in this order; it is empty where the data has no names. `group_N` is
    that of `Dataset`. `places` says where each picture lies. `contents` gives each picture: its file, its bytes, or its
    pixels `x_HWC`; None where it is missing. `ignored` are files among them that are no labelled pictures.
    """

    path: Path
    form: str
    names: tuple[str, ...]
    y_N: NDArray[np.int64]
    group_N: NDArray[np.int64]
    places: tuple[str, ...]
    contents: Callable[[], Iterator[Content]]
    ignored: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y_N)
