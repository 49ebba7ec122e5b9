"""Pictures to one array, decoded by several threads straight into their place."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.assembler.training.data.source import Content, Source
from edgekit.core.errors import BadInputError
from edgekit.core.images import decoders_quiet, open_image, scaled
from edgekit.core.model import Preprocessing

PICTURES_AT_ONCE = 512

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """`x_NCHW` uint8 RGB; the shorter side of each picture in pixels before scaling, 0 where it could not be read; and for
    these why, in their order."""

    x_NCHW: NDArray[np.uint8]
    side_N: NDArray[np.int64]
    unreadable: tuple[str, ...]


def decode(source: Source, *, image_size: int, progress: Progress) -> Decoded:
    """Every picture at `image_size`; what cannot be read leaves its place in `x_NCHW` black. `progress(done, of)`."""
    x_NCHW = np.zeros((len(source), 3, image_size, image_size), np.uint8)
    side_N = np.zeros(len(source), np.int64)
    wanted = Preprocessing(height=image_size, width=image_size)
    unreadable: list[str] = []

    def place(numbered: tuple[int, Content]) -> str | None:
        """Says why, where it cannot."""
        index, content = numbered
        try:
            image = _opened(content, source.places[index])
        except BadInputError as error:
            return error.message
        x_NCHW[index] = scaled(image, wanted).transpose(2, 0, 1)
        side_N[index] = min(image.size)
        return None

    contents = enumerate(source.contents())
    with decoders_quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        while some := list(islice(contents, PICTURES_AT_ONCE)):
            unreadable += filter(None, pool.map(place, some))
            progress(some[-1][0] + 1, len(source))
    return Decoded(x_NCHW=x_NCHW, side_N=side_N, unreadable=tuple(unreadable))


def _opened(content: Content, place: str) -> Image.Image:
    match content:
        case None:
            raise BadInputError(f"cannot read the picture {place}: it has no bytes", hint="remove the row")
        case np.ndarray():
            return Image.fromarray(np.ascontiguousarray(content))
        case bytes():
            return open_image(BytesIO(content), name=place)
        case _:
            return open_image(content, name=place)
