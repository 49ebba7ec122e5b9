"""Which layers of a quantised file must stay in float for an accuracy floor to be kept, found by running such files.

The original is quantised one layer at a time; the layers are then restored to float, the one with the noisiest output first, until
the file keeps the floor. A layer is its convolution or matrix product and what follows it until the next.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit.core.errors import BadInputError, ConversionError
from edgekit.core.fidelity import Outputs, signal_to_noise_db
from edgekit.core.model import Model, Quantization, Scheme
from edgekit.exporters.layout import to_file, to_torch
from edgekit.exporters.quantizer import INT4_OPERATORS, FileQuantizer
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import convert_fp32, quantizer_of
from edgekit.networks.layers import run
from edgekit.passes.contract import Context, LayerRow, PassResult
from edgekit.passes.judgement import Judgement, judge, points_lost

CALIBRATION_SAMPLES = 256
SAMPLES_PER_LAYER = 128
"""Enough to rank layers by the noise that they add; the floor is judged on all samples."""

_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """`quantization` is None where no quantised file keeps the floor."""

    quantization: Quantization | None
    layers: tuple[LayerRow, ...]
    notes: tuple[str, ...]

    def result(self, model: Model) -> PassResult:
        if self.quantization is None:
            return PassResult(model=model, modified=False, layers=self.layers, notes=self.notes)
        changed = replace(model, quantization=self.quantization)
        return PassResult(model=changed, modified=True, layers=self.layers, notes=self.notes)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cost:
    """Of quantising this layer alone; `snr_db` is that of the network's output, -inf where the runtime refuses the file."""

    layer: str
    operator: str
    snr_db: float
    points: float

    @property
    def refused(self) -> bool:
        return self.snr_db == -np.inf


def decide(model: Model, context: Context, scheme: Scheme, *, max_drop: float) -> Decision:
    """Raises ConversionError for a model that is quantised already or has no TFLite form."""
    if model.quantization is not None:
        raise ConversionError(
            f"an earlier pass already quantises the model as {model.quantization.scheme}",
            hint="keep only one quant:: pass in the recipe",
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-quantise-") as folder:
        return _Search(model, context, scheme, max_drop, Path(folder)).decision()


class _Search:
    def __init__(self, model: Model, context: Context, scheme: Scheme, max_drop: float, folder: Path) -> None:
        self._context, self._scheme, self._max_drop = context, scheme, max_drop
        self._path = folder / "model.tflite"
        judging = context.judging
        self._x_N = to_file(judging.x_N.numpy())
        self._y_N = None if judging.y_N is None else judging.y_N.numpy()
        self._reference_N = run(context.original.module, judging.x_N).numpy()
        fp32 = convert_fp32(model)
        calibration_N = to_file(context.calibration.x_N[:CALIBRATION_SAMPLES].numpy())
        self._quantizer: FileQuantizer = quantizer_of(model, fp32, calibration_N)
        self._float_N = self._outputs(fp32, len(self._x_N))
        self._before = self._judge(self._float_N)
        operators = {name: layer.operator for name, layer in self._quantizer.layers.items()}
        can_be = INT4_OPERATORS if scheme is Scheme.INT4_WEIGHTS else set(operators.values())
        self._operators = {name: operator for name, operator in operators.items() if operator in can_be}
        self._never = [name for name in operators if name not in self._operators]

    def decision(self) -> Decision:
        if self._scheme is Scheme.INT4_WEIGHTS and not self._operators:
            return Decision(
                quantization=None,
                layers=(),
                notes=("No layer of the file has a 4-bit form that the runtime executes.",),
            )
        costs = self._costs()
        kept, now = self._restored(costs)
        notes = [self._note_never()] if self._never else []
        if len(costs) < len(self._operators):
            notes.append(f"The time was up after {len(costs)} of {len(self._operators)} layers had been tried alone.")
        if now is None:
            notes.append(
                f"No file of {self._scheme} was found that loses at most {self._max_drop:g} points: the model stays as it was."
            )
            return Decision(quantization=None, layers=self._rows(costs, None), notes=tuple(notes))
        notes.append(
            f"{self._scheme} loses {points_lost(now, self._before):.2f} points, {self._max_drop:g} may be lost: {now}, "
            f"before {self._before.value:.2%}."
        )
        if kept:
            notes.append(f"{len(kept)} of {len(self._operators)} layers stay in float: {', '.join(kept)}.")
        quantization = Quantization(scheme=self._scheme, kept_float=frozenset([*kept, *self._never]))
        return Decision(quantization=quantization, layers=self._rows(costs, kept), notes=tuple(notes))

    def _costs(self) -> list[_Cost]:
        """The noisiest layer first; not all of them where time ends."""
        costs = []
        for name in self._operators:
            if self._context.late:
                break
            costs.append(self._cost(name))
            self._context.progress(f"{name} alone in {self._scheme}: {costs[-1].snr_db:.1f} dB")
        return sorted(costs, key=lambda cost: cost.snr_db)

    def _cost(self, name: str) -> _Cost:
        samples = min(SAMPLES_PER_LAYER, len(self._x_N))
        operator = self._operators[name]
        others = [*(other for other in self._operators if other != name), *self._never]
        try:
            outputs_N = self._outputs(self._quantised(others), samples)
        except BadInputError:
            return _Cost(layer=name, operator=operator, snr_db=-np.inf, points=np.nan)
        float_N = self._float_N[:samples]
        return _Cost(
            layer=name,
            operator=operator,
            snr_db=signal_to_noise_db(outputs_N, float_N),
            points=points_lost(self._judge(outputs_N), self._judge(float_N)),
        )

    def _restored(self, costs: Sequence[_Cost]) -> tuple[list[str], Judgement | None]:
        """The layers kept in float and how the file then does; no judgement where none keeps the floor in time."""
        kept = [cost.layer for cost in costs if cost.refused]
        candidates = [cost.layer for cost in costs if not cost.refused]
        while len(kept) < len(self._operators) or not self._operators:
            now = self._judged(kept)
            self._context.progress(f"{len(kept)} layers in float: {now or 'refused by the runtime'}")
            if now is not None and points_lost(now, self._before) <= self._max_drop:
                return kept, now
            if not candidates or self._context.late:
                break
            kept.append(candidates.pop(0))
        return kept, None

    def _judged(self, kept: Sequence[str]) -> Judgement | None:
        """None where the runtime refuses the file."""
        try:
            return self._judge(self._outputs(self._quantised([*kept, *self._never]), len(self._x_N)))
        except BadInputError:
            return None

    def _quantised(self, kept: Sequence[str]) -> bytes:
        return self._quantizer.quantize(Quantization(scheme=self._scheme, kept_float=frozenset(kept)))

    def _outputs(self, tflite: bytes, samples: int) -> Outputs:
        self._path.write_bytes(tflite)
        return to_torch(run_in_subprocess(self._path, self._x_N[:samples], timeout_s=_TIMEOUT_S).outputs)

    def _judge(self, outputs_N: Outputs) -> Judgement:
        samples = len(outputs_N)
        return judge(outputs_N, self._reference_N[:samples], None if self._y_N is None else self._y_N[:samples])

    def _rows(self, costs: Sequence[_Cost], kept: Sequence[str] | None) -> tuple[LayerRow, ...]:
        """In the order of execution."""
        by_name = {cost.layer: cost for cost in costs}
        return tuple(
            LayerRow(
                layer=cost.layer,
                cells={
                    "operator": cost.operator,
                    "output SNR alone (dB)": "refused" if cost.refused else round(cost.snr_db, 1),
                    "points lost alone": "" if cost.refused else round(cost.points, 2),
                    "stored as": "float32" if kept is None or cost.layer in kept else self._scheme.value,
                },
            )
            for cost in (by_name[name] for name in self._operators if name in by_name)
        )

    def _note_never(self) -> str:
        return f"The runtime has no 4-bit form of {len(self._never)} layers, which stay in float: {', '.join(self._never)}."
