"""A folder of pictures for each class, below the folder itself or below one of its splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.assembler.training.data.source import Source
from edgekit.core.errors import BadInputError
from edgekit.core.images import SUFFIXES

SPLITS = ("train", "val", "validation", "test")
_ALSO = {"val": "validation", "validation": "val"}


def image_folder_source(folder: Path, split: str) -> Source | None:
    """The pictures of `folder/split/<class>/`, or of `folder/<class>/` where the folder has no splits; None where there are none.

    Classes are sorted by name, pictures by path; `val` and `validation` are the same split. Raises BadInputError where
    splits and classes lie side by side.
    """
    splits = [below for below in _folders(folder) if below.name in SPLITS and _folders(below)]
    if not splits:
        return _of_classes(folder)
    for other in _folders(folder):
        if other not in splits and any(map(_is_picture, _files(other))):
            raise BadInputError(
                f"{folder} holds both splits ({splits[0].name}) and a class ({other.name})",
                hint=f"move {other.name} into the split where it belongs",
            )
    wanted = next((below for below in splits if below.name in (split, _ALSO.get(split))), None)
    return _of_classes(wanted) if wanted else None


def _of_classes(folder: Path) -> Source | None:
    classes = _folders(folder)
    files = [(number, file) for number, below in enumerate(classes) for file in _files(below)]
    pictures = [(number, file) for number, file in files if _is_picture(file)]
    if not pictures:
        return None
    beside = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    others = (*beside, *(file for _, file in files if not _is_picture(file)))
    return Source(
        path=folder,
        form="a folder for each class",
        names=tuple(below.name for below in classes),
        y_N=np.array([number for number, _ in pictures], np.int64),
        group_N=np.full(len(pictures), -1, np.int64),
        places=tuple(str(file.relative_to(folder)) for _, file in pictures),
        contents=lambda: (file for _, file in pictures),
        ignored=tuple(str(file.relative_to(folder)) for file in others),
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(below for below in folder.iterdir() if below.is_dir() and not below.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    """In `folder` and below, hidden ones left out."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES
