"""Arrays in an .npz: pixels `x`, labels `y`, and where there are some the `names` of the classes."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edgekit.assembler.training.data.source import Source
from edgekit.core.errors import BadInputError

HINT = "expected x (N,H,W,3 or N,3,H,W, uint8), y (N whole numbers), and optionally names (one string for each class)"


def arrays_source(path: Path) -> Source:
    """Raises BadInputError for a file that is no .npz, holds pickled objects, or arrays of other shapes and types."""
    arrays = _loaded(path)
    for name in ("x", "y"):
        if name not in arrays:
            raise BadInputError(f"{path} holds no array {name}", hint=HINT)
    x, y, names = arrays["x"], arrays["y"], arrays.get("names", np.array([], str))
    if x.dtype != np.uint8 or x.ndim != 4 or 3 not in (x.shape[1], x.shape[3]) or 0 in x.shape:
        raise BadInputError(f"{path}: x is {x.dtype} of shape {x.shape}", hint=HINT)
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise BadInputError(f"{path}: y is {y.dtype} of shape {y.shape} for {len(x)} pictures", hint=HINT)
    if names.dtype.kind != "U" or names.ndim != 1:
        raise BadInputError(f"{path}: names is {names.dtype} of shape {names.shape}", hint=HINT)
    x_NHWC = x if x.shape[3] == 3 else x.transpose(0, 2, 3, 1)
    return Source(
        path=path,
        form="arrays",
        names=tuple(names.tolist()),
        y_N=y.astype(np.int64),
        group_N=np.full(len(y), -1, np.int64),
        places=tuple(f"{path.name}, picture {number}" for number in range(len(y))),
        contents=lambda: iter(x_NHWC),
    )


def _loaded(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("x", "y", "names") if name in file.files}
    except (OSError, ValueError, BadZipFile, AttributeError, TypeError, EOFError) as error:
        pickled = "pickle" in str(error)
        reason = (
            "it holds pickled objects, which are never loaded" if pickled else str(error) or "it is not an .npz file"
        )
        raise BadInputError(f"cannot read {path}: {reason}", hint=HINT) from error
