"""What passes and exporters handle: a module with all that is needed to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from edgekit.core.operators import Operator


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """From a picture to the network: resize to `height` x `width`, RGB, `(pixel / 255 - mean) / std` per channel."""

    height: int
    width: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A torch module in eval mode, `x_NCHW` float32 (batch free, values in [0, 1] before mean/std) -> probabilities `p_NK`.

    `labels` names the K outputs in order; `operators` is what the module executes at batch 1, as its maker describes it;
    `provenance` says which supernet, genotype, task and passes it comes from.
    """

    module: nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    operators: tuple[Operator, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)
