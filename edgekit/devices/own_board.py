"""The cost model of a board of one's own, from ten or more measured networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from edgekit.core.errors import BadInputError
from edgekit.devices.calibration import Fit, Measurement, conformal_quantile
from edgekit.devices.cost_model import Rates, Uncertainty, units_of
from edgekit.devices.few_measurements import FewFit, Matrix, fit_few
from edgekit.devices.precision import Precision

LEAST = 10
OWN, LIKE = "rates of its own", "like {}"


def fit_own_board(
    measurements: Sequence[Measurement], relatives: Mapping[str, Mapping[Precision, Rates]]
) -> dict[Precision, tuple[Fit, str]]:
    """For each precision that was measured, the fit and what it took the board for: something of its own, or a known device at
    another speed, with or without a start of its own; whichever predicts measurements left out best.

    Raises BadInputError for fewer than ten networks of a precision.
    """
    fits = {}
    for precision in sorted({one.precision for one in measurements}):
        mine = [one for one in measurements if one.precision is precision]
        if len({one.network for one in mine}) < LEAST:
            raise BadInputError(
                f"{len(mine)} networks in {precision} are too few to fit a cost model", hint=f"measure at least {LEAST}"
            )
        fits[precision] = _fit(
            mine, {name: rates[precision] for name, rates in relatives.items() if precision in rates}
        )
    return fits


def _fit(measurements: Sequence[Measurement], relatives: Mapping[str, Rates]) -> tuple[Fit, str]:
    works = [one.work for one in measurements]
    latency_ms_N = np.array([one.latency_ms for one in measurements])
    descriptions = {OWN: np.array([units_of(work) for work in works])}
    for name, rates in relatives.items():
        work_ms_N = np.array([rates.work_ms(work) for work in works])
        descriptions[LIKE.format(name)] = np.stack([work_ms_N, np.ones(len(works))], axis=1)
    chosen = fit_few(descriptions, latency_ms_N)
    error_sizes = [float(error) for error in np.abs(chosen.log_errors_N)]
    log_error = conformal_quantile(error_sizes)
    uncertainty = Uncertainty(
        alternatives=tuple(_rates(chosen, weights_F, relatives) for weights_F in chosen.left_out_NF),
        log_error=log_error,
        log_error_mean=fmean(error_sizes),
        # Nothing tells how errors grow outside: as much again for each octave.
        log_error_per_octave=log_error,
        latency_range_ms=(float(latency_ms_N.min()), float(latency_ms_N.max())),
    )
    fit = Fit(
        rates=_rates(chosen, chosen.weights_F, relatives),
        uncertainty=uncertainty,
        left_out=tuple(one.network for one in measurements),
    )
    return fit, chosen.description


def _rates(chosen: FewFit, weights_F: Matrix, relatives: Mapping[str, Rates]) -> Rates:
    if chosen.description == OWN:
        return Rates(**dict(zip(Rates.__slots__, map(float, weights_F), strict=True)))
    (relative,) = (rates for name, rates in relatives.items() if LIKE.format(name) == chosen.description)
    slower, start_ms = map(float, weights_F)
    scaled = {name: slower * getattr(relative, name) for name in Rates.__slots__}
    return Rates(**scaled | {"ms_per_run": start_ms})
