"""What a pass is: options that can be searched, what it needs and reduces, and a model with an account of what was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from edgekit.core.model import Model
    from edgekit.core.operators import Operator
    from edgekit.devices.target import Target


class Needs(StrEnum):
    """The data that a pass cannot do without."""

    NOTHING = "nothing"
    CALIBRATION = "calibration"
    """Inputs alone."""
    TRAINING = "training"
    """Inputs with labels, or the original model's answers in their place."""


class Reduces(StrEnum):
    PARAMETERS = "parameters"
    BYTES = "bytes on disk"
    MACS = "MACs"
    LATENCY = "latency"


def option(default: Any, *, help: str, search: Sequence[Any] = ()) -> Any:  # noqa: A002 (as click calls it)
    """A field of a pass: its default, what it means with its unit, and the values a recipe search may try."""
    return field(default=default, metadata={"help": help, "search": tuple(search)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Inputs `x_N` (N, *input_shape) float32 as the module takes them, and labels `y_N` int64 where there are any."""

    x_N: Tensor
    y_N: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What surrounds a pass.

    `original` is the model before the first pass: the teacher. `calibration` are inputs to measure activations on, `training` what
    may be learnt from, `judging` what a pass may judge itself by; the images that a result is evaluated on are in none of them.
    `augment` changes a batch of training inputs at random (None: as they are). `deadline` is a time of `clock` (seconds),
    after which a pass ends with the best it has. `folder` takes checkpoints of long passes, by which they resume.
    """

    original: Model
    target: Target
    latency_ms: Callable[[Sequence[Operator]], float]
    calibration: Samples
    judging: Samples
    training: Samples | None = None
    augment: Callable[[Tensor, Any], Tensor] | None = None
    seed: int = 0
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic
    folder: Path | None = None
    progress: Callable[[str], None] = lambda _line: None

    @property
    def late(self) -> bool:
        return self.deadline is not None and self.clock() >= self.deadline


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """What a pass did to one layer; the columns are those of its pass."""

    layer: str
    cells: Mapping[str, float | str]


@dataclass(frozen=True, kw_only=True, slots=True)
class PassResult:
    """`notes` are sentences for the report: what was chosen, and what was not and why."""

    model: Model
    modified: bool
    layers: tuple[LayerRow, ...] = ()
    notes: tuple[str, ...] = ()


class Pass(Protocol):
    """A frozen keyword-only dataclass of options.

    It leaves the model it is given as it was, works in eval mode, and raises UsageError for options outside their range and
    ConversionError for a model that it cannot be applied to.
    """

    id: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[Needs]
    reduces: ClassVar[tuple[Reduces, ...]]

    def __call__(self, model: Model, context: Context) -> PassResult: ...
