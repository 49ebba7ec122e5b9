"""A linear head in closed form, and what it would have answered to each picture had that picture been left out.

Shapes: N pictures, D features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Discriminant:
    """Regularised linear discriminant analysis (J. H. Friedman, JASA 84, 1989) in which every class counts alike.

    Class c scores `m_c' A^-1 x - (m_c' A^-1 m_c - v / n_c) / 2` with its mean m_c over n_c pictures and A = S + ridge * I, S
    the scatter of all pictures about the means of their classes. A small ridge whitens the features, a large one leaves
    the nearest mean. v / n_c, v = trace(A^-1 S) / (N - C), is what the error of an estimated mean adds to its norm: without
    it a class of few pictures would look further away than it is.

    All is kept in the eigenbasis of S, where A is diagonal for every ridge.
    """

    y_N: NDArray[np.int64]
    sizes_C: Values
    centre_D: Values
    basis_DD: Values
    scatter_D: Values
    features_ND: Values
    means_CD: Values
    spread: float

    @classmethod
    def of(cls, features_ND: Values, y_N: NDArray[np.int64]) -> Self:
        """Classes are numbered from 0, each with two pictures or more. `spread` is the mean square of a centred feature."""
        sizes_C = np.bincount(y_N).astype(float)
        centre_D = features_ND.mean(0)
        centred_ND = features_ND - centre_D
        means_CD = np.stack([centred_ND[y_N == c].mean(0) for c in range(len(sizes_C))])
        within_ND = centred_ND - means_CD[y_N]
        scatter_D, basis_DD = np.linalg.eigh(within_ND.T @ within_ND)
        return cls(
            y_N=y_N,
            sizes_C=sizes_C,
            centre_D=centre_D,
            basis_DD=basis_DD,
            scatter_D=np.maximum(scatter_D, 0.0),
            features_ND=centred_ND @ basis_DD,
            means_CD=means_CD @ basis_DD,
            spread=float((centred_ND**2).sum(0).mean()),
        )

    def head(self, ridge: float) -> tuple[Values, Values]:
        """(`w_CD`, `b_C`) of the scores of any features."""
        inverse_D = 1 / (self.scatter_D + ridge)
        w_CD = self.means_CD * inverse_D
        excess = (inverse_D * self.scatter_D).sum() / (len(self.y_N) - len(self.sizes_C))
        b_C = (excess / self.sizes_C - (w_CD * self.means_CD).sum(1)) / 2
        w_CD = w_CD @ self.basis_DD.T
        return w_CD, b_C - w_CD @ self.centre_D

    def leave_one_out(self, ridge: float) -> Values:
        """`z_NC`: the scores of each picture by the head fitted, at this ridge, without it. Exact, and without a refit.

        Without picture x of class c, whose distance from its mean is r, that mean moves by -r / (n_c - 1) and S loses
        k r r', k = n_c / (n_c - 1): a change of rank one, which the Sherman-Morrison formula carries over to A^-1.
        """
        row_N, y_N = np.arange(len(self.y_N)), self.y_N
        others_N = self.sizes_C[y_N] - 1
        residual_ND = self.features_ND - self.means_CD[y_N]
        inverse_D = 1 / (self.scatter_D + ridge)
        weighted_ND = residual_ND * inverse_D
        rr_N = (weighted_ND * residual_ND).sum(1)
        xr_N = (weighted_ND * self.features_ND).sum(1)
        rm_NC = weighted_ND @ self.means_CD.T
        xm_NC = (self.features_ND * inverse_D) @ self.means_CD.T
        mm_NC = np.tile((self.means_CD**2 * inverse_D).sum(1), (len(y_N), 1))

        mm_NC[row_N, y_N] += (rr_N / others_N - 2 * rm_NC[row_N, y_N]) / others_N
        xm_NC[row_N, y_N] -= xr_N / others_N
        rm_NC[row_N, y_N] -= rr_N / others_N

        k_N = (others_N + 1) / others_N
        update_N = k_N / (1 - k_N * rr_N)
        xm_NC += (update_N * xr_N)[:, None] * rm_NC
        mm_NC += update_N[:, None] * rm_NC**2

        trace_N = inverse_D.sum() + update_N * (weighted_ND**2).sum(1)
        excess_N = (len(self.scatter_D) - ridge * trace_N) / (len(y_N) - 1 - len(self.sizes_C))
        sizes_NC = np.tile(self.sizes_C, (len(y_N), 1))
        sizes_NC[row_N, y_N] -= 1
        scores_NC: Values = xm_NC - (mm_NC - excess_N[:, None] / sizes_NC) / 2
        return scores_NC
