"""What a compression learns from, decides by, and is evaluated on: three sets of inputs that share no picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.images import list_images, read_image, to_float
from edgekit.core.model import Preprocessing

if TYPE_CHECKING:
    from edgekit.passes.contract import Samples

CALIBRATION_INPUTS = 256
EVALUATION_SHARE, JUDGING_SHARE = 0.25, 0.15
MIN_INPUTS = 8
# Activations of a pass come on top of this.
MAX_BYTES = 2 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """`training` and `judging` come from --data, `evaluation` from --eval or, without it, from --data too; `calibration` is a part
    of `training`. `labels` names the classes where the data does; `notes` say what was split off or left out."""

    training: Samples
    calibration: Samples
    judging: Samples
    evaluation: Samples
    labels: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Inputs:
    """`x_N` as the network takes it, labels `y_N` or None, `unit_N` what stays on one side of a split, class names."""

    x_N: NDArray[np.float32]
    y_N: NDArray[np.int64] | None
    unit_N: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x_N)

    def take(self, chosen: NDArray[np.bool_]) -> _Inputs:
        return _Inputs(
            x_N=self.x_N[chosen],
            y_N=None if self.y_N is None else self.y_N[chosen],
            unit_N=self.unit_N[chosen],
            names=self.names,
        )


def read_data(
    data: Path,
    evaluation: Path | None,
    *,
    input_shape: tuple[int, ...],
    preprocessing: Preprocessing | None,
    seed: int,
) -> Data:
    """Pictures in a form of docs/data.md, a folder of pictures without labels, or an .npz whose float32 `x` is what the network
    takes, with or without `y`.

    Raises BadInputError for data of no known form, another shape or values that are not finite, UsageError for pictures
    where the network takes none.
    """
    rng = np.random.default_rng(seed)
    rest, notes = _read(data, "train", input_shape, preprocessing, rng)
    if len(rest) < MIN_INPUTS:
        raise BadInputError(
            f"{data} holds {len(rest)} inputs, at least {MIN_INPUTS} are needed",
            hint="give more, preferably a few hundred",
        )
    if evaluation is not None:
        evaluated, more = _read(evaluation, "test", input_shape, preprocessing, rng)
        notes += more
    else:
        rest, evaluated = _split(rest, EVALUATION_SHARE, rng)
        notes += (f"{len(evaluated)} inputs of {data} are kept for the evaluation alone",)
    training, judging = _split(rest, JUDGING_SHARE, rng)
    notes += (f"{len(training)} inputs to learn from, {len(judging)} to decide by",)
    chosen = np.zeros(len(training), bool)
    chosen[rng.permutation(len(training))[:CALIBRATION_INPUTS]] = True
    return Data(
        training=_samples(training),
        calibration=_samples(training.take(chosen)),
        judging=_samples(judging),
        evaluation=_samples(evaluated),
        labels=rest.names,
        notes=notes,
    )


def _read(
    path: Path, split: str, shape: tuple[int, ...], preprocessing: Preprocessing | None, rng: np.random.Generator
) -> tuple[_Inputs, tuple[str, ...]]:
    inputs = _arrays(path, shape) if path.suffix == ".npz" else None
    if inputs is None:
        inputs = _pictures(path, split, shape, preprocessing)
    most = MAX_BYTES // (4 * int(np.prod(shape)))
    if len(inputs) <= most:
        return inputs, ()
    chosen = np.zeros(len(inputs), bool)
    chosen[rng.permutation(len(inputs))[:most]] = True
    return inputs.take(chosen), (f"{most} of the {len(inputs)} inputs of {path} are used: more do not fit into memory",)


def _arrays(path: Path, shape: tuple[int, ...]) -> _Inputs | None:
    """None where the file holds pixels: those are pictures."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x", "y") if name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadInputError(f"cannot read {path}: {error}", hint="expected an .npz with x, and y for labels") from error
    x_N = arrays.get("x")
    if x_N is None or x_N.dtype == np.uint8:
        return None
    if x_N.dtype.kind != "f" or x_N.shape[1:] != shape:
        raise BadInputError(
            f"{path}: x is {x_N.dtype} of shape {x_N.shape}, expected float32 (N, {', '.join(map(str, shape))})",
            hint="give arrays as the network takes them, or uint8 pictures",
        )
    if not np.isfinite(x_N).all():
        raise BadInputError(f"{path}: x holds values that are not finite", hint="remove those rows")
    y_N = arrays.get("y")
    if y_N is not None and (y_N.dtype.kind not in "iu" or y_N.shape != x_N.shape[:1]):
        raise BadInputError(f"{path}: y is {y_N.dtype} of shape {y_N.shape}", hint="expected N whole numbers")
    return _Inputs(
        x_N=x_N.astype(np.float32),
        y_N=None if y_N is None else y_N.astype(np.int64),
        unit_N=np.arange(len(x_N)),
        names=(),
    )


def _pictures(path: Path, split: str, shape: tuple[int, ...], preprocessing: Preprocessing | None) -> _Inputs:
    if preprocessing is None or preprocessing.height != preprocessing.width:
        raise UsageError(
            f"the network takes arrays of shape {shape}, but {path} holds no such arrays",
            hint="give an .npz with float32 x of that shape; pictures fit square networks with 3 channels",
        )
    if path.is_dir() and not any(one.is_dir() for one in path.iterdir()) and not any(path.glob("*.parquet")):
        x_NHWC = np.stack([read_image(image, preprocessing) for image in list_images(path)])
        return _of_pixels(x_NHWC.transpose(0, 3, 1, 2), None, np.arange(len(x_NHWC)), (), preprocessing)
    from edgekit.assembler.training.data.decoding import decode
    from edgekit.assembler.training.data.reading import open_source

    source = open_source(path, split)
    decoded = decode(source, image_size=preprocessing.height, progress=lambda _done, _of: None)
    if decoded.unreadable:
        raise BadInputError(
            f"{len(decoded.unreadable)} pictures of {path} cannot be read: {decoded.unreadable[0]}",
            hint="repair or remove them",
        )
    single_N = -1 - np.arange(len(source))
    unit_N = np.where(source.group_N < 0, single_N, source.group_N)
    units_N = np.unique(np.stack([source.y_N, unit_N]), axis=1, return_inverse=True)[1].reshape(-1)
    return _of_pixels(decoded.x_NCHW, source.y_N, units_N, source.names, preprocessing)


def _of_pixels(
    x_NCHW: NDArray[np.uint8],
    y_N: NDArray[np.int64] | None,
    unit_N: NDArray[np.int64],
    names: tuple[str, ...],
    preprocessing: Preprocessing,
) -> _Inputs:
    x_NHWC = to_float(x_NCHW.transpose(0, 2, 3, 1), preprocessing)
    return _Inputs(x_N=np.ascontiguousarray(x_NHWC.transpose(0, 3, 1, 2)), y_N=y_N, unit_N=unit_N, names=names)


def _split(inputs: _Inputs, share: float, rng: np.random.Generator) -> tuple[_Inputs, _Inputs]:
    """What stays, and about a `share` of whole units that leaves; neither is empty."""
    units = np.unique(inputs.unit_N)
    leaving = rng.permutation(units)[: max(1, round(share * len(units)))]
    leaves_N = np.isin(inputs.unit_N, leaving)
    if leaves_N.all():
        raise BadInputError(
            "all inputs show the same object, so they cannot be split", hint="give inputs of several objects"
        )
    return inputs.take(~leaves_N), inputs.take(leaves_N)


def _samples(inputs: _Inputs) -> Samples:
    import torch

    from edgekit.passes.contract import Samples

    return Samples(x_N=torch.from_numpy(inputs.x_N), y_N=None if inputs.y_N is None else torch.from_numpy(inputs.y_N))
