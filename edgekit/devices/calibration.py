"""Fits a cost model to a table of measured networks."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from edgekit.core.errors import BadInputError
from edgekit.core.records import sha256_of
from edgekit.devices.cost_model import SCHEMA_VERSION, Rates, Uncertainty, Work, total_work, units_of
from edgekit.devices.device import Device, Runtime
from edgekit.devices.networks import reference_network
from edgekit.devices.precision import Precision

_CONFIDENCE = 0.9
_LEAST_MEASUREMENTS = 10
_MOST_LEFT_OUT_ALONE, _FOLDS = 100, 10
_LEAST_GAIN = 0.001
_SHARED_RATES = ("ms_per_patch_mbyte", "ms_per_operator", "ms_per_run")
_WINDOWS = "ms_per_window_mbyte"
_OWN_RATES = ("ms_per_mmac", "ms_per_activation_mbyte", "ms_per_weight_mbyte")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The median latency of one published network at batch 1; `groups` are what it has in common with others."""

    network: str
    groups: tuple[str, ...]
    precision: Precision
    latency_ms: float
    work: Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """The rates of one precision and how far to trust them; `left_out` names the group that each alternative lacks."""

    rates: Rates
    uncertainty: Uncertainty
    left_out: tuple[str, ...]


def read_measurements(path: Path) -> tuple[Measurement, ...]:
    """A CSV with the columns family, width, resolution, precision, p50_ms. Raises BadInputError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot read {path}: {error}", hint="give a table of measurements") from error
    return tuple(_measurement(row, where=f"{path}, line {line}") for line, row in enumerate(rows, start=2))


def _measurement(row: Mapping[str, str], *, where: str) -> Measurement:
    try:
        width, resolution, latency_ms = float(row["width"]), int(row["resolution"]), float(row["p50_ms"])
        precision = Precision(row["precision"])
        family = row["family"]
        if not (math.isfinite(latency_ms) and latency_ms > 0 and width > 0 and resolution > 0):
            raise ValueError("width, resolution and p50_ms must be positive")
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{where} is not a measurement: {error}", hint="columns: family, width, resolution, precision, p50_ms"
        ) from error
    return Measurement(
        network=f"{family} {width:g} {resolution}",
        groups=(f"family {family}", f"width {width:g}", f"resolution {resolution}"),
        precision=precision,
        latency_ms=latency_ms,
        work=total_work(reference_network(family, width=width, resolution=resolution), precision),
    )


def fit_rates(measurements: Sequence[Measurement], *, windows: bool = False) -> dict[Precision, Rates]:
    """Nonnegative rates with the least sum of |predicted / measured - 1|, as a linear program.

    Least absolute relative deviations: one odd network does not rule the fit, and small networks count as much as
    large. All precisions are fitted at once, because copying a byte, dispatching an operator and starting a run cost
    the same in each: what the large fp32 latencies cannot tell, the small int8 ones do. Without `windows`, pools cost
    nothing beyond their activations.
    """
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import block_array, csr_array, eye_array

    precisions = sorted({measurement.precision for measurement in measurements})
    shared = (*_SHARED_RATES, *((_WINDOWS,) if windows else ()))
    columns: list[tuple[str, Precision | None]] = [(rate, None) for rate in shared]
    columns += [(rate, precision) for precision in precisions for rate in _OWN_RATES]
    design = csr_array(
        np.array([[_units(one, rate, owner) / one.latency_ms for rate, owner in columns] for one in measurements])
    )
    slack, ones = eye_array(len(measurements)), np.ones(len(measurements))
    solution = linprog(
        np.concatenate([np.zeros(len(columns)), ones]),
        A_ub=block_array([[design, -slack], [-design, -slack]]),
        b_ub=np.concatenate([ones, -ones]),
        method="highs",
    )
    fitted = {column: max(0.0, float(value)) for column, value in zip(columns, solution.x, strict=False)}
    none = dict.fromkeys(Rates.__slots__, 0.0)
    return {
        precision: Rates(
            **none | {rate: value for (rate, owner), value in fitted.items() if owner in {None, precision}}
        )
        for precision in precisions
    }


def windows_pay(measurements: Sequence[Measurement]) -> bool:
    """Whether a rate for what pools read predicts left-out networks better, by more than a standard error and a thousandth: a
    table with few pools cannot tell it from the other rates."""
    with_windows, without = (leave_one_out(measurements, windows=windows) for windows in (True, False))
    gains = [abs(ours) - abs(theirs) for theirs, ours in zip(with_windows, without, strict=True)]
    return fmean(gains) > max(_LEAST_GAIN, stdev(gains) / math.sqrt(len(gains)))


def _units(measurement: Measurement, rate: str, owner: Precision | None) -> float:
    """What `rate` multiplies in this measurement; nothing where the rate belongs to another precision."""
    if owner not in {None, measurement.precision}:
        return 0.0
    return units_of(measurement.work)[Rates.__slots__.index(rate)]


def log_errors(rates: Mapping[Precision, Rates], judged: Sequence[Measurement]) -> list[float]:
    """log(predicted / measured) of each measurement."""
    return [math.log(rates[one.precision].latency_ms(one.work) / one.latency_ms) for one in judged]


def leave_one_out(measurements: Sequence[Measurement], *, windows: bool = False) -> list[float]:
    """log(predicted / measured) of each measurement by a fit that never saw its network, in any precision.

    Of more than 100 networks, a tenth is left out at a time.
    """
    errors: dict[Measurement, float] = {}
    networks = list(dict.fromkeys(measurement.network for measurement in measurements))
    folds = len(networks) if len(networks) <= _MOST_LEFT_OUT_ALONE else _FOLDS
    for fold in range(folds):
        left_out = set(networks[fold::folds])
        seen = [measurement for measurement in measurements if measurement.network not in left_out]
        unseen = [measurement for measurement in measurements if measurement.network in left_out]
        errors.update(zip(unseen, log_errors(fit_rates(seen, windows=windows), unseen), strict=True))
    return [errors[measurement] for measurement in measurements]


def calibrate(measurements: Sequence[Measurement]) -> dict[Precision, Fit]:
    """Rates and their uncertainty for every precision in the table. Raises BadInputError for too few networks."""
    networks = {measurement.network for measurement in measurements}
    if len(networks) < _LEAST_MEASUREMENTS:
        raise BadInputError(
            f"{len(networks)} networks are too few to fit a cost model", hint=f"measure at least {_LEAST_MEASUREMENTS}"
        )
    windows = windows_pay(measurements)
    best = fit_rates(measurements, windows=windows)
    errors = leave_one_out(measurements, windows=windows)
    without = {name: fit_rates(seen, windows=windows) for name, seen in _without_each_group(measurements).items()}
    _, larger = halves(measurements)
    from_larger = fit_rates(larger, windows=windows)
    fits = {}
    for precision, rates in best.items():
        mine = [one for one in measurements if one.precision is precision]
        error_sizes = [
            abs(error) for error, one in zip(errors, measurements, strict=True) if one.precision is precision
        ]
        log_error = conformal_quantile(error_sizes)
        fits[precision] = Fit(
            rates=rates,
            left_out=tuple(without),
            uncertainty=Uncertainty(
                alternatives=tuple(alternative[precision] for alternative in without.values()),
                log_error=log_error,
                log_error_mean=fmean(error_sizes),
                log_error_per_octave=_per_octave(from_larger, mine, log_error),
                latency_range_ms=(min(one.latency_ms for one in mine), max(one.latency_ms for one in mine)),
            ),
        )
    return fits


def halves(measurements: Sequence[Measurement]) -> tuple[list[Measurement], list[Measurement]]:
    """The faster and the slower half of each precision."""
    middle = {
        precision: median(one.latency_ms for one in measurements if one.precision is precision)
        for precision in {one.precision for one in measurements}
    }
    smaller = [one for one in measurements if one.latency_ms < middle[one.precision]]
    larger = [one for one in measurements if one.latency_ms >= middle[one.precision]]
    return smaller, larger


def _without_each_group(measurements: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """The measurements without one group or half at a time, where enough are left."""
    smaller, larger = halves(measurements)
    remaining = {"smaller half": larger, "larger half": smaller}
    for group in dict.fromkeys(group for one in measurements for group in one.groups):
        remaining[group] = [one for one in measurements if group not in one.groups]
    precisions = {one.precision for one in measurements}
    return {
        name: seen
        for name, seen in remaining.items()
        if len({one.network for one in seen}) >= _LEAST_MEASUREMENTS and {one.precision for one in seen} == precisions
    }


def _per_octave(rates: Mapping[Precision, Rates], judged: Sequence[Measurement], log_error: float) -> float:
    """Growth of the error towards small networks: the worst excess over `log_error`, for each halving of the latency,
    of a fit that saw only the slower half."""
    middle_ms = median(one.latency_ms for one in judged)
    below = [one for one in judged if one.latency_ms < middle_ms / 2]
    excesses = (
        (abs(error) - log_error) / math.log2(middle_ms / one.latency_ms)
        for error, one in zip(log_errors(rates, below), below, strict=True)
    )
    return max([0.0, *excesses])


def conformal_quantile(values: Sequence[float]) -> float:
    """The 90 % quantile with the conformal correction for small samples: the ceil(0.9 (n + 1))-th smallest value."""
    rank = math.ceil(_CONFIDENCE * (len(values) + 1))
    return sorted(values)[min(rank, len(values)) - 1]


def cost_model_record(device: Device, runtime: Runtime) -> dict[str, Any]:
    """What `devices/<name>/<runtime>.json` holds, fitted from the device's own table. Raises BadInputError."""
    table = device.folder / runtime.calibration
    measurements = read_measurements(table)
    return record_of(device.name, runtime, table, measurements, calibrate(measurements))


def record_of(
    device: str, runtime: Runtime, table: Path, measurements: Sequence[Measurement], fits: Mapping[Precision, Fit]
) -> dict[str, Any]:
    """As `cost_model_record`, of a fit that was made."""
    return {
        "schema_version": SCHEMA_VERSION,
        "device": device,
        "runtime": runtime.name,
        "runtime_version": runtime.version,
        "threads": runtime.threads,
        "calibration": {
            "table": runtime.calibration,
            "sha256": sha256_of(table),
            "rows": len(measurements),
            "source": runtime.source,
            "source_url": runtime.source_url,
            "licence": runtime.licence,
        },
        "precisions": {
            precision: _fit_record(fit, [one.work for one in measurements if one.precision is precision])
            for precision, fit in sorted(fits.items())
        },
    }


def _fit_record(fit: Fit, works: Sequence[Work]) -> dict[str, Any]:
    uncertainty = asdict(fit.uncertainty)
    uncertainty["alternatives"] = {
        f"without {name}": asdict(rates) for name, rates in zip(fit.left_out, fit.uncertainty.alternatives, strict=True)
    }
    ranges = {
        feature.name: [pick(getattr(work, feature.name) for work in works) for pick in (min, max)]
        for feature in fields(Work)
    }
    record = {"rates": asdict(fit.rates), "uncertainty": uncertainty, "range_per_network": ranges}
    return {key: _rounded(value) for key, value in record.items()}


def _rounded(value: Any) -> Any:
    """Six significant digits: what is beyond them differs between machines."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}")
