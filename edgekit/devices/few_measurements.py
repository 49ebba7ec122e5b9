"""A latency predictor from a handful of measurements: which networks to measure, and which description of them to trust.

A description is a matrix `x_NF` of nonnegative columns, one row a network: counts or work of its operators, with what a runtime
skips left in or out, or what known devices take for it. Latency is a nonnegative combination of the columns, so it is never
negative and grows with each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DESIGN_RIDGE, _FIT_RIDGE = 1e-3, 1e-6

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class FewFit:
    """`weights_F` of the chosen description, in ms for a unit of each column; row n of `left_out_NF` are those of a fit without
    network n, and `log_errors_N` how wrong it is about that network."""

    description: str
    weights_F: Matrix
    left_out_NF: Matrix
    log_errors_N: Matrix

    def latency_ms(self, x_NF: Matrix) -> Matrix:
        predicted: Matrix = x_NF @ self.weights_F
        return predicted


def d_optimal(x_NF: Matrix, number: int) -> tuple[int, ...]:
    """Rows to measure, one after the other the one that says most beside those before it: the greedy D-optimal design
    (Fedorov 1972: the determinant of the information matrix grows by 1 + x' M^-1 x). Ties go to the first row."""
    scaled = x_NF / _scale(x_NF)
    inverse = np.eye(scaled.shape[1]) / _DESIGN_RIDGE
    chosen: list[int] = []
    for _ in range(min(number, len(scaled))):
        gains = np.einsum("nf,fg,ng->n", scaled, inverse, scaled)
        gains[chosen] = -1
        best = int(gains.argmax())
        chosen.append(best)
        step = inverse @ scaled[best]
        inverse -= np.outer(step, step) / (1 + scaled[best] @ step)
    return tuple(chosen)


def fit_few(descriptions: Mapping[str, Matrix], latency_ms_N: Matrix) -> FewFit:
    """The description with the least median error of networks left out, fitted to all of them.

    Each network counts by its relative error; a small ridge keeps columns that the measurements cannot tell apart alike.
    Raises ValueError for fewer than three measurements, or latencies that are not positive.
    """
    if len(latency_ms_N) < 3 or not (latency_ms_N > 0).all():
        raise ValueError("expected at least three positive latencies")
    fits = [_fit(name, x_NF, latency_ms_N) for name, x_NF in descriptions.items()]
    return min(fits, key=lambda fit: float(np.median(np.abs(fit.log_errors_N))))


def _fit(name: str, x_NF: Matrix, latency_ms_N: Matrix) -> FewFit:
    every = np.arange(len(latency_ms_N))
    left_out_NF = np.stack([_weights(x_NF[every != n], latency_ms_N[every != n]) for n in every])
    predicted_N = (x_NF * left_out_NF).sum(1)
    return FewFit(
        description=name,
        weights_F=_weights(x_NF, latency_ms_N),
        left_out_NF=left_out_NF,
        log_errors_N=np.log(np.maximum(predicted_N, 1e-9) / latency_ms_N),
    )


def _weights(x_NF: Matrix, latency_ms_N: Matrix) -> Matrix:
    from scipy.optimize import nnls

    scale = _scale(x_NF)
    relative = x_NF / scale / latency_ms_N[:, None]
    ridge = np.sqrt(_FIT_RIDGE * (relative**2).sum(0).mean()) * np.eye(relative.shape[1])
    solution, _ = nnls(np.vstack([relative, ridge]), np.concatenate([np.ones(len(relative)), np.zeros(len(ridge))]))
    weights: Matrix = solution / scale
    return weights


def _scale(x_NF: Matrix) -> Matrix:
    """The root mean square of each column, 1 for one of zeros."""
    scale: Matrix = np.sqrt((x_NF**2).mean(0))
    return np.where(scale > 0, scale, 1.0)
