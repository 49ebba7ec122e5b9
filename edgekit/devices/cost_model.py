"""Predicted latency: additive over operators, with nonnegative rates fitted to published measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.operators import Operator, OperatorKind
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import read_json
from edgekit.devices.device import list_devices
from edgekit.devices.precision import Precision
from edgekit.devices.relatives import Relative, nearest_relative
from edgekit.devices.runtimes import REFERENCE, BesideTflite, beside_tflite
from edgekit.devices.target import Target

SCHEMA_VERSION: Final = 2
_BIAS_BYTES = 4
# Rows of a matrix product that kernels for Arm compute together (ruy and XNNPACK: 4 or 8); one row alone is another kernel's.
_TILE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What operators do, in the units that the rates multiply."""

    mmacs: float = 0.0
    patch_mbytes: float = 0.0
    window_mbytes: float = 0.0
    activation_mbytes: float = 0.0
    weight_mbytes: float = 0.0
    operators: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(**{name: getattr(self, name) + getattr(other, name) for name in Work.__slots__})


def work_of(operator: Operator, precision: Precision) -> Work:
    """Millions of multiply-accumulates and of bytes at this precision.

    The positions of a convolution are the rows of a matrix product and counted in whole tiles. Patches are what a convolution
    with a kernel above 1 x 1 gathers before that product (im2col): positions x kernel area x input channels, which is
    `macs / channels`. Windows are what a pool reads: outputs x kernel area, at least its input.
    """
    gathers = operator.kind is OperatorKind.CONV and operator.kernel > 1 and operator.channels > 0
    patch_elements = operator.macs / operator.channels if gathers else 0.0
    read_elements = sum(tensor.elements for tensor in operator.inputs)
    windows_elements = max(read_elements, operator.output.elements * operator.kernel**2)
    element_mbytes = precision.element_bytes / 1e6
    return Work(
        mmacs=operator.macs * _tiling(operator) / 1e6,
        patch_mbytes=patch_elements * element_mbytes,
        window_mbytes=windows_elements * element_mbytes if operator.kind is OperatorKind.POOL else 0.0,
        activation_mbytes=(read_elements + operator.output.elements) * element_mbytes,
        weight_mbytes=operator.weights * element_mbytes + operator.biases * _BIAS_BYTES / 1e6,
        operators=1.0,
    )


def _tiling(operator: Operator) -> float:
    """Rows computed for each row wanted."""
    if operator.kind is not OperatorKind.CONV or not operator.channels:
        return 1.0
    rows = operator.output.elements // operator.channels
    return math.ceil(rows / _TILE) * _TILE / rows if rows > 1 else 1.0


def total_work(operators: Iterable[Operator], precision: Precision) -> Work:
    return sum((work_of(operator, precision) for operator in operators), Work())


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Milliseconds for each unit of work, and once a run."""

    ms_per_mmac: float
    ms_per_patch_mbyte: float
    ms_per_window_mbyte: float
    ms_per_activation_mbyte: float
    ms_per_weight_mbyte: float
    ms_per_operator: float
    ms_per_run: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            rate = getattr(self, name)
            if not (math.isfinite(rate) and rate >= 0):
                raise ValueError(f"{name} is {rate}, it must be at least 0")

    def scaled(self, times: float) -> Rates:
        return Rates(**{name: times * getattr(self, name) for name in self.__slots__})

    def work_ms(self, work: Work) -> float:
        return (
            self.ms_per_mmac * work.mmacs
            + self.ms_per_patch_mbyte * work.patch_mbytes
            + self.ms_per_window_mbyte * work.window_mbytes
            + self.ms_per_activation_mbyte * work.activation_mbytes
            + self.ms_per_weight_mbyte * work.weight_mbytes
            + self.ms_per_operator * work.operators
        )

    def latency_ms(self, work: Work) -> float:
        return self.ms_per_run + self.work_ms(work)


def units_of(work: Work) -> list[float]:
    """What each rate multiplies, in the order of `Rates`."""
    return [
        Rates(**{name: float(name == rate) for name in Rates.__slots__}).latency_ms(work) for rate in Rates.__slots__
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncertainty:
    """How far a prediction may be from the truth.

    `alternatives` are the rates fitted without one group of the measurements each (a family, a width, a resolution, the
    smaller or larger half); `log_error` is the 90 % quantile of |log(predicted / measured)| with the network itself
    left out, `log_error_mean` its mean; `log_error_per_octave` is added for each halving or doubling of the latency
    beyond `latency_range_ms`, that of the measurements.
    """

    alternatives: tuple[Rates, ...]
    log_error: float
    log_error_mean: float
    log_error_per_octave: float
    latency_range_ms: tuple[float, float]

    def interval_ms(self, work: Work, latency_ms: float) -> tuple[float, float]:
        """A 90 % interval around a prediction."""
        if latency_ms == 0:
            return 0.0, max(rates.latency_ms(work) for rates in self.alternatives)
        predictions = [latency_ms, *(rates.latency_ms(work) for rates in self.alternatives)]
        margin = math.exp(self.log_error + self.log_error_per_octave * self._octaves_outside(latency_ms))
        return min(predictions) / margin, max(predictions) * margin

    def of_relative(self, relative: Relative) -> Uncertainty:
        """Of rates that were scaled to another device: what such predictions missed comes on top."""
        low, high = self.latency_range_ms
        return replace(
            self,
            alternatives=tuple(rates.scaled(relative.times) for rates in self.alternatives),
            log_error=self.log_error + math.log(relative.spread),
            latency_range_ms=(relative.times * low, relative.times * high),
        )

    def _octaves_outside(self, latency_ms: float) -> float:
        low, high = self.latency_range_ms
        return max(0.0, math.log2(low / latency_ms), math.log2(latency_ms / high))


@dataclass(frozen=True, kw_only=True, slots=True)
class CostModel:
    """Latency on one target at batch 1.

    `relative` is the device whose figures it was fitted to, where that is not the target's; `beside` tells what they are worth
    where they are TFLite's and the target's runtime is another.
    """

    target: Target
    rates: Rates
    uncertainty: Uncertainty
    runtime_version: str
    relative: Relative | None = None
    beside: BesideTflite | None = None

    @property
    def overhead_ms(self) -> float:
        """What a run costs whatever the network."""
        return self.rates.ms_per_run

    def operator_ms(self, operator: Operator) -> float:
        return self.rates.work_ms(work_of(operator, self._fitted_precision))

    def latency_ms(self, operators: Iterable[Operator]) -> float:
        return self.overhead_ms + sum(self.operator_ms(operator) for operator in operators)

    def predict_latency(self, operators: Iterable[Operator]) -> Quantity:
        """The latency with its 90 % interval and its source."""
        work = total_work(operators, self._fitted_precision)
        latency_ms = self.rates.latency_ms(work)
        low, high = self.uncertainty.interval_ms(work, latency_ms)
        return Quantity(
            value=latency_ms,
            unit="ms",
            evidence=Evidence.PREDICTED,
            source=self._source(),
            interval=(low * self.beside.fastest, high * self.beside.slowest) if self.beside else (low, high),
        )

    def _source(self) -> str:
        target, error = self.target, f"{100 * self.uncertainty.log_error_mean:.1f} %"
        fitted, runtime = self.relative.device if self.relative else target.device, self._fitted_runtime
        source = (
            f"cost model of {fitted.name}, {runtime} {self.runtime_version}, {self._fitted_precision}, "
            f"{target.threads} threads; leave-one-out error {error}"
        )
        if self.relative is not None:
            source = (
                f"no figures of {runtime} on {target.device.name}: as {fitted.name} x {self.relative.times:.2f} "
                f"({self.relative.reason}), interval {self.relative.spread:g} times wider either way; {source}"
            )
        if self.beside is None:
            return source
        return (
            f"no figures of {target.runtime}: as {REFERENCE}, interval from {self.beside.fastest:g} to "
            f"{self.beside.slowest:g} times that ({self.beside.reason}); {source}"
        )

    @property
    def _fitted_runtime(self) -> str:
        return REFERENCE if self.beside else self.target.runtime

    @property
    def _fitted_precision(self) -> Precision:
        return stand_in(self.target).precision if self.beside else self.target.precision


def load_cost_model(target: Target) -> CostModel:
    """Of the figures of the target's runtime on its device; where there are none, of its nearest relative among the devices that
    ship with edgekit, and for a runtime beside TFLite of TFLite.

    Raises UsageError for other threads than those measured and where there is no relative, BadInputError for a missing or broken
    file.
    """
    runtime = target.device.runtime(target.runtime)
    if target.threads != runtime.threads:
        raise UsageError(
            f"{target} was measured with {runtime.threads} threads, not {target.threads}",
            hint=f"ask for {runtime.threads} threads",
        )
    beside = beside_of(target)
    if beside is not None:
        return replace(load_cost_model(stand_in(target)), target=target, beside=beside)
    relative = relative_of(target)
    if relative is None:
        return _read(target)
    fitted = _read(replace(target, device=relative.device))
    return CostModel(
        target=target,
        rates=fitted.rates.scaled(relative.times),
        uncertainty=fitted.uncertainty.of_relative(relative),
        runtime_version=fitted.runtime_version,
        relative=relative,
    )


def beside_of(target: Target) -> BesideTflite | None:
    """What TFLite's latency tells of the target's; None where its runtime is TFLite or has figures of its own there."""
    if target.device.runtime(target.runtime).has_figures:
        return None
    return beside_tflite(target.runtime, target.precision)


def stand_in(target: Target) -> Target:
    """The target of TFLite whose latency is taken for it; TFLite has figures in no half precision."""
    precision = Precision.FP32 if target.precision is Precision.FP16 else target.precision
    return replace(target, runtime=REFERENCE, precision=precision)


def relative_of(target: Target) -> Relative | None:
    """The shipped device whose figures predict the target; None where it has its own. Raises UsageError where there is neither."""
    if target.device.runtime(target.runtime).has_figures:
        return None
    shipped = list_devices(data_folder("devices"))
    return nearest_relative(target.device, target.runtime, target.precision, target.threads, among=shipped)


def _read(target: Target) -> CostModel:
    """`<runtime>.json` of the target's device."""
    path = target.device.folder / f"{target.runtime}.json"
    record = read_json(path, schema_version=SCHEMA_VERSION)
    try:
        fitted = record["precisions"][target.precision]
        return CostModel(
            target=target,
            rates=Rates(**fitted["rates"]),
            uncertainty=_uncertainty(fitted["uncertainty"]),
            runtime_version=record["runtime_version"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{path} is not a cost model: {error}", hint="fit it again from the device's table"
        ) from error


def _uncertainty(record: Mapping[str, Any]) -> Uncertainty:
    facts = dict(record)
    alternatives = tuple(Rates(**rates) for rates in facts.pop("alternatives").values())
    low, high = facts.pop("latency_range_ms")
    return Uncertainty(alternatives=alternatives, latency_range_ms=(float(low), float(high)), **facts)
