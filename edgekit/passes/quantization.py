"""Quantization of a .tflite file: the pass decides what stays in float, the exporter performs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgekit.core.errors import UsageError
from edgekit.core.model import Model, Scheme
from edgekit.passes.contract import Context, Needs, PassResult, Reduces, option

if TYPE_CHECKING:
    from edgekit.passes.float_layers import Decision

_MAX_DROP = (
    "points of accuracy on the judging samples that may be lost; without labels, points of agreement with the original"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Int8:
    """Weights of int8 per channel, activations of int8 per tensor; sensitive layers stay in float32."""

    id: ClassVar[str] = "quant::int8"
    summary: ClassVar[str] = "Stores and computes in 8-bit integers, except for layers that cost too much accuracy."
    source: ClassVar[str] = "B. Jacob et al., arXiv 1712.05877; R. Krishnamoorthi, arXiv 1806.08342"
    needs: ClassVar[Needs] = Needs.CALIBRATION
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.BYTES, Reduces.LATENCY)

    max_drop: float = option(0.5, help=_MAX_DROP, search=(0.2, 0.5, 1.0))

    def __call__(self, model: Model, context: Context) -> PassResult:
        return _quantized(model, context, Scheme.INT8, self.max_drop)


@dataclass(frozen=True, kw_only=True, slots=True)
class Int4Weights:
    """Weights of int4 per channel, activations float32 in the file; sensitive layers, and those that the runtime does not execute
    so, stay in float32."""

    id: ClassVar[str] = "quant::int4_weights"
    summary: ClassVar[str] = "Stores weights in 4 bits where the runtime executes them and accuracy allows it."
    source: ClassVar[str] = "R. Krishnamoorthi, arXiv 1806.08342"
    needs: ClassVar[Needs] = Needs.NOTHING
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.BYTES,)

    max_drop: float = option(1.0, help=_MAX_DROP, search=(0.5, 1.0, 2.0))

    def __call__(self, model: Model, context: Context) -> PassResult:
        return _quantized(model, context, Scheme.INT4_WEIGHTS, self.max_drop)


def _quantized(model: Model, context: Context, scheme: Scheme, max_drop: float) -> PassResult:
    if not 0 <= max_drop <= 100:
        raise UsageError(f"max_drop is {max_drop:g} points", hint="give a number from 0 to 100")
    from edgekit.passes.float_layers import decide

    decision: Decision = decide(model, context, scheme, max_drop=max_drop)
    return decision.result(model)
