"""Which layers of an int8 ONNX file stay in float32: what each costs, then the worst restored until the loss is in bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from edgekit.core.errors import ConversionError
from edgekit.core.fidelity import signal_to_noise_db
from edgekit.core.model import Model, Quantization, Scheme
from edgekit.exporters.onnx_file import Floats, convert_onnx, outputs_of
from edgekit.exporters.onnx_quantization import in_float, layers_by_precision, quantize_onnx
from edgekit.passes.contract import Context, LayerRow, PassResult, Samples
from edgekit.passes.judgement import judge

# Noise of outputs, unlike shares of right answers, is known well from few inputs.
_RANKING_SAMPLES: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    fp32: bytes
    int8: bytes

    def with_float(self, layers: Sequence[str]) -> bytes:
        return in_float(self.int8, self.fp32, layers) if layers else self.int8


def decide(model: Model, context: Context, *, max_drop: float) -> PassResult:
    """The model with `quantization` set so that the exported file loses at most `max_drop` points against the fp32 file.

    Unmodified where no set of layers tried before the deadline does. Raises ConversionError for a model that is quantised already.
    """
    if model.quantization is not None:
        raise ConversionError(
            f"an earlier pass already quantises the model as {model.quantization.scheme}",
            hint="keep only one quant:: pass in the recipe",
        )
    context.progress("quantising all layers")
    fp32 = convert_onnx(model)
    files = _Files(fp32=fp32, int8=quantize_onnx(fp32, _array(context.calibration)))
    layers = tuple(layers_by_precision(files.int8))
    snr_db = _noise(files, layers, _array(context.calibration)[:_RANKING_SAMPLES], context)
    x_N = _array(context.judging)
    reference = outputs_of(fp32, x_N)
    worst_first = sorted(snr_db, key=lambda layer: snr_db[layer])
    best: tuple[float, int] | None = None
    for restored in range(len(worst_first) + 1):
        if best is not None and (restored == len(layers) or context.late):
            break
        lost = _lost(outputs_of(files.with_float(worst_first[:restored]), x_N), reference, context.judging)
        context.progress(f"{restored} layers in float32: {lost:.2f} points lost")
        best = min(best or (lost, restored), (lost, restored))
        if lost <= max_drop:
            kept = frozenset(worst_first[:restored])
            return PassResult(
                model=replace(model, quantization=Quantization(scheme=Scheme.INT8, kept_float=kept)),
                modified=True,
                layers=_rows(layers, snr_db, kept),
                notes=(_account(layers, kept, lost, max_drop), *_not_ranked(layers, snr_db)),
            )
    lost, restored = best or (0.0, 0)
    return PassResult(
        model=model,
        modified=False,
        layers=_rows(layers, snr_db, frozenset(layers)),
        notes=(
            f"Left in float32: with {restored} of {len(layers)} layers in float32 int8 still loses {lost:.2f} points,"
            f" more than {max_drop:g}.",
            *_not_ranked(layers, snr_db),
        ),
    )


def _noise(files: _Files, layers: Sequence[str], x_N: Floats, context: Context) -> Mapping[str, float]:
    """By layer the output's signal-to-noise ratio, in decibels, where that layer alone is int8; in execution order.

    The other way round, all but one in int8, nothing is learnt where two layers spoil the output independently.
    """
    reference = outputs_of(files.fp32, x_N)
    snr_db: dict[str, float] = {}
    for number, layer in enumerate(layers):
        if context.late:
            break
        context.progress(f"what layer {number + 1} of {len(layers)} costs")
        others = [other for other in layers if other != layer]
        snr_db[layer] = signal_to_noise_db(outputs_of(files.with_float(others), x_N), reference)
    return snr_db


def _lost(y: Floats, reference: Floats, judging: Samples) -> float:
    """Points."""
    y_N = None if judging.y_N is None else judging.y_N.numpy()
    return 100 * (judge(reference, reference, y_N).value - judge(y, reference, y_N).value)


def _array(samples: Samples) -> Floats:
    return np.ascontiguousarray(samples.x_N.detach().to(torch.float32).numpy())


def _rows(layers: Sequence[str], snr_db: Mapping[str, float], kept: frozenset[str]) -> tuple[LayerRow, ...]:
    return tuple(
        LayerRow(
            layer=layer,
            cells={
                "output SNR alone (dB)": round(snr_db[layer], 1) if layer in snr_db else "not measured",
                "stored as": "float32" if layer in kept else Scheme.INT8.value,
            },
        )
        for layer in layers
    )


def _account(layers: Sequence[str], kept: frozenset[str], lost: float, max_drop: float) -> str:
    stored = f"{len(layers) - len(kept)} of {len(layers)} layers are stored as int8"
    return f"{stored}; on the judging samples this loses {lost:.2f} points of the {max_drop:g} allowed."


def _not_ranked(layers: Sequence[str], snr_db: Mapping[str, float]) -> tuple[str, ...]:
    missing = len(layers) - len(snr_db)
    return (f"The time was up before {missing} layers were measured; they were not considered.",) if missing else ()
