"""The program of Net-Trim, as general conic solvers take it: the judges of our own solver.

Variables are the weights of all neurons, and a bound of each one's magnitude: min sum t, -t <= u <= t, one inequality for every
sample that is off, one second-order cone for all that are on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conic:
    """min costs'x subject to bounds - matrix x in the non-negative orthant of `inequalities` rows times one second-order cone."""

    costs: Values
    matrix: sparse.csc_matrix
    bounds: Values
    inequalities: int
    shape: tuple[int, int]


def conic(x_PN: Values, bound_PM: Values, on_PM: NDArray[np.bool_], eps: float) -> Conic:
    inputs, neurons = x_PN.shape[1], bound_PM.shape[1]
    size = inputs * neurons
    one = sparse.identity(size, format="csc")
    off, on = (
        sparse.block_diag([sparse.csc_matrix(x_PN[chosen_PM[:, m]]) for m in range(neurons)], format="csc")
        for chosen_PM in (~on_PM, on_PM)
    )
    bound_off, bound_on = (
        np.concatenate([bound_PM[chosen_PM[:, m], m] for m in range(neurons)]) for chosen_PM in (~on_PM, on_PM)
    )
    left = sparse.vstack([one, -one, off, sparse.csc_matrix((1, size)), on], format="csc")
    right = sparse.vstack([-one, -one, sparse.csc_matrix((left.shape[0] - 2 * size, size))], format="csc")
    return Conic(
        costs=np.concatenate([np.zeros(size), np.ones(size)]),
        matrix=sparse.hstack([left, right], format="csc"),
        bounds=np.concatenate([np.zeros(2 * size), bound_off, [eps], bound_on]),
        inequalities=2 * size + len(bound_off),
        shape=(inputs, neurons),
    )


def by_clarabel(problem: Conic) -> Values:
    """The weights (inputs, neurons) by an interior-point method."""
    import clarabel

    rows, columns = problem.matrix.shape
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    cones = [
        clarabel.NonnegativeConeT(problem.inequalities),
        clarabel.SecondOrderConeT(rows - problem.inequalities),
    ]
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix((columns, columns)), problem.costs, problem.matrix, problem.bounds, cones, settings
    )
    return _weights(problem, solver.solve().x)


def by_scs(problem: Conic) -> Values:
    """The weights (inputs, neurons) by a first-order method, to its usual accuracy."""
    import scs

    data = {"A": problem.matrix, "b": problem.bounds, "c": problem.costs}
    cone = {"l": problem.inequalities, "q": [problem.matrix.shape[0] - problem.inequalities]}
    return _weights(problem, scs.SCS(data, cone, verbose=False, eps_abs=1e-5, eps_rel=1e-5).solve()["x"])


def _weights(problem: Conic, x: object) -> Values:
    inputs, neurons = problem.shape
    return np.asarray(x)[: inputs * neurons].reshape(neurons, inputs).T
