"""What passes and exporters handle: a module with all that is needed to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekit.core.operators import Operator


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """From a picture to the network: resize to `height` x `width`, RGB, `(pixel / 255 - mean) / std` per channel."""

    height: int
    width: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Scheme(StrEnum):
    """How weights and activations are stored in the exported file."""

    INT8 = "int8"
    """Weights per channel and activations per tensor, full integer."""
    INT4_WEIGHTS = "int4_weights"
    """Weights of 4 bits per channel, activations float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantization:
    """What the exporter is to do; the layers of `kept_float` (module names) stay in float32."""

    scheme: Scheme
    kept_float: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A torch module in eval mode: `x` float32 of shape (N, *`input_shape`), N free -> one float32 tensor (N, ...).

    Pictures are `x_NCHW`, in [0, 1] before mean and std; where `preprocessing` is None inputs are arrays, taken as they are.
    `labels` names the K outputs of a classifier in order, and is empty where outputs have no names. `output_range` is what an
    output can hold where that is known (probabilities: 0 to 1). `operators` is what the module executes at batch 1, as its maker
    describes it. `masks` holds, by parameter name, True where a weight is kept; the others are zero and stay so in training.
    `quantization` is what the exporter is to do beyond float32. `provenance` says which supernet, genotype, task and passes it
    comes from.
    """

    module: nn.Module
    input_shape: tuple[int, ...]
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    operators: tuple[Operator, ...]
    output_range: tuple[float, float] | None = (0.0, 1.0)
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    quantization: Quantization | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
