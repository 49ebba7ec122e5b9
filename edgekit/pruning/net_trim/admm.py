"""The convex program of Net-Trim by the alternating direction method of multipliers (ADMM).

    min sum price |u|   subject to   ||(X u - target)_on||_F <= eps,   (X u)_off <= bound_off

The splitting is that of the paper: v1 = X u / c and v2 = u, with c = 0.3 sqrt(max X'X); v1 takes the constraints, v2 the norm. What
is iterated here is not the variables and their duals but, for each of the two, the point f that is projected: it is the
pre-activation minus its scaled dual, less the bound. With e(f) = f - projection of f the whole iteration is

    d = -C^-1 (X' e(f1) / c^2 + e(f2)),   C = X'X / c^2 + 1
    f1 <- a (e(f1) + X (u + 2 d) - bound) + (1 - a) f1,   f2 likewise with 1 for X and no bound,   u <- u + a d

which needs two products with X per iteration, and one array of P x M. Over-relaxation `a` is that of Eckstein and Bertsekas; the
penalty follows the two residuals (S. Boyd et al., Distributed optimization and statistical learning via ADMM, 3.3.1 and 3.4.1),
and since C does not depend on it, its inverse is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from edgekit.pruning.net_trim.samples import Samples, TensorShelf

_RELAXATION: Final = 1.7
_CHECKED_EVERY: Final = 10
_BALANCED_UNTIL: Final = 600  # a penalty that keeps changing need not converge
_IMBALANCE: Final = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """The sparse `u_NM` with its true zeros, and the relative residuals at which the iteration ended."""

    u_NM: Tensor
    iterations: int
    primal: float
    dual: float
    converged: bool


class Admm:
    """The program on samples, for any eps: every `solve` goes on from the state that the last one left.

    `price_NM` is what a unit of each weight's magnitude counts, 1 without it; weights that must be zero are infinitely dear.
    `start_NM` are weights to begin at.
    """

    def __init__(self, samples: Samples, *, start_NM: Tensor, price_NM: Tensor | None = None) -> None:
        kind = samples.dtype
        self.samples = samples
        self._price_NM = torch.ones_like(start_NM, dtype=kind) if price_NM is None else price_NM.to(kind)
        # The paper's scale; a layer whose inputs are all zero keeps its splitting.
        self._c2 = 0.09 * float(samples.gram_NN.diagonal().max()) or 1.0
        system_NN = samples.gram_NN / self._c2
        system_NN.diagonal().add_(1.0)
        self._system_NN = system_NN
        self._inverse_NN = torch.cholesky_inverse(torch.linalg.cholesky(system_NN)).to(kind)
        self._u_NM = start_NM.to(kind)
        self._f2_NM = self._u_NM.clone()
        self._f1 = TensorShelf(samples.folder, "f1")
        for number, block in enumerate(samples):
            self._f1[number] = block.x_PN @ self._u_NM - block.bound_PM
        size = float(start_NM.abs().mean())
        self._rho = 1.0 / size if size else 1.0

    def solve(
        self, eps: float, *, tolerance: float = 1e-4, iterations: int = 4000, late: Callable[[], bool] = lambda: False
    ) -> Solution:
        """Ends where both relative residuals are below the tolerance, after so many iterations, or when it is late."""
        primal = dual = math.inf
        done = 0
        while done < iterations and not (primal < tolerance and dual < tolerance):
            if late():
                break
            checked = (done + 1) % _CHECKED_EVERY == 0
            residuals = self._step(eps, checked=checked)
            done += 1
            if residuals:
                primal, dual = residuals
                if done < _BALANCED_UNTIL:
                    self._balance(primal, dual)
        return Solution(
            u_NM=(self._f2_NM - self._excess2()).double(),
            iterations=done,
            primal=primal,
            dual=dual,
            converged=primal < tolerance and dual < tolerance,
        )

    def enlarge_penalty(self, factor: float) -> None:
        """Both duals keep their unscaled value."""
        shrunk = 1 / factor
        for number, block in enumerate(self.samples):
            self._f1[number] = (1 - shrunk) * (block.x_PN @ self._u_NM - block.bound_PM) + shrunk * self._f1[number]
        self._f2_NM = (1 - shrunk) * self._u_NM + shrunk * self._f2_NM
        self._rho *= factor

    def _balance(self, primal: float, dual: float) -> None:
        if dual > 0 and primal > _IMBALANCE * dual:
            self.enlarge_penalty(min(5.0, math.sqrt(primal / dual)))
        elif primal > 0 and dual > _IMBALANCE * primal:
            self.enlarge_penalty(max(0.2, math.sqrt(primal / dual)))

    def _excess2(self) -> Tensor:
        """f2 less its soft threshold."""
        threshold_NM = self._price_NM / self._rho
        return self._f2_NM.clamp(-threshold_NM, threshold_NM)

    def _excess1(self, number: int, on_PM: Tensor, shrink: float) -> Tensor:
        f_PM = self._f1[number]
        return torch.where(on_PM, (1 - shrink) * f_PM, f_PM.clamp(min=0))

    def _step(self, eps: float, *, checked: bool) -> tuple[float, float] | None:
        """One iteration; where it is checked, the relative primal and dual residuals."""
        distance = self._distance()
        shrink = min(1.0, eps / distance) if distance else 1.0
        e2_NM = self._excess2()
        pulled_NM = torch.zeros_like(self._u_NM)
        for number, block in enumerate(self.samples):
            pulled_NM += block.x_PN.T @ self._excess1(number, block.on_PM, shrink)
        a = _RELAXATION
        d_NM = self._inverse_NN @ (pulled_NM / -self._c2 - e2_NM)
        next_NM = self._u_NM + a * d_NM
        move_NM = a * (self._u_NM + 2 * d_NM)
        off_square = v1_square = dual_square = 0.0
        for number, block in enumerate(self.samples):
            f_PM, e_PM = self._f1[number], self._excess1(number, block.on_PM, shrink)
            if checked:
                v_PM = f_PM + block.bound_PM - e_PM
                off_square += float((v_PM - block.x_PN @ next_NM).square().sum()) / self._c2
                v1_square += float(v_PM.square().sum()) / self._c2
                dual_square += float(e_PM.square().sum()) / self._c2
            self._f1[number] = torch.addmm(e_PM - block.bound_PM, block.x_PN, move_NM, beta=a).add_(f_PM, alpha=1 - a)
        residuals = None
        if checked:
            v_NM = self._f2_NM - e2_NM
            off_square += float((v_NM - next_NM).square().sum())
            v1_square += float(v_NM.square().sum())
            dual_square += float(e2_NM.square().sum())
            moved = self._norm(a * d_NM)
            scale = max(v1_square**0.5, self._norm(next_NM))
            residuals = (off_square**0.5 / scale if scale else 0.0, moved / dual_square**0.5 if dual_square else 0.0)
        self._f2_NM = move_NM + a * e2_NM + (1 - a) * self._f2_NM
        self._u_NM = next_NM
        return residuals

    def _distance(self) -> float:
        """||(f1)_on||_F."""
        return math.sqrt(
            sum(float((self._f1[number] * block.on_PM).square().sum()) for number, block in enumerate(self.samples))
        )

    def _norm(self, u_NM: Tensor) -> float:
        """||(X u / c, u)||_F."""
        u_NM = u_NM.double()
        return math.sqrt(max(0.0, float((u_NM * (self._system_NN @ u_NM)).sum())))
