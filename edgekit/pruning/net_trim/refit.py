"""Weights of a given support that come closest to the layer's outputs: without the shrinkage of the 1-norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from edgekit.pruning.net_trim.samples import Samples, TensorShelf

_OUTER, _INNER = 12, 40
_EXACT: Final = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """The loss at a point, its gradient there, and the diagonal of its curvature."""

    loss: float
    gradient_NM: Tensor
    diagonal_NM: Tensor


class Refit:
    """Minimises ||(X u - target)_on||^2 + weight ||max(X u - bound, 0)_off||^2 over the u that are zero off the support.

    The loss is convex and piecewise quadratic: Newton's method, each step by conjugate gradients, all neurons at once.
    """

    def __init__(self, samples: Samples, support_NM: Tensor, *, weight: float) -> None:
        self._samples, self._support_NM, self._weight = samples, support_NM.to(samples.dtype), weight
        self._curvature = TensorShelf(samples.folder, "curvature")

    def from_start(self, start_NM: Tensor) -> Tensor:
        """The minimiser (float64), which is never worse than `start_NM`."""
        best_NM = (start_NM * self._support_NM).to(self._samples.dtype)
        model = self._model(best_NM)
        for _ in range(_OUTER):
            next_NM = best_NM - self._newton_step(model)
            next_model = self._model(next_NM)
            if not next_model.loss < model.loss:
                break
            gained, best_NM, model = model.loss - next_model.loss, next_NM, next_model
            if gained < _EXACT * model.loss:
                break
        return best_NM.double()

    def _model(self, u_NM: Tensor) -> _Model:
        """Leaves the curvature of each sample on its shelf."""
        loss = 0.0
        gradient_NM, diagonal_NM = torch.zeros_like(u_NM), torch.zeros_like(u_NM)
        for number, block in enumerate(self._samples):
            over_PM = block.x_PN @ u_NM - block.bound_PM
            curvature_PM = torch.where(block.on_PM, 1.0, self._weight * (over_PM > 0)).to(u_NM.dtype)
            slope_PM = curvature_PM * over_PM
            loss += float((slope_PM * over_PM).double().sum())
            gradient_NM += block.x_PN.T @ slope_PM
            diagonal_NM += block.x_PN.square().T @ curvature_PM
            self._curvature[number] = curvature_PM
        return _Model(loss=loss, gradient_NM=gradient_NM * self._support_NM, diagonal_NM=diagonal_NM)

    def _newton_step(self, model: _Model) -> Tensor:
        """Each neuron's system has its own step lengths."""
        preconditioner_NM = self._support_NM / (model.diagonal_NM + 1e-6 * model.diagonal_NM.max() + 1e-30)
        step_NM = torch.zeros_like(model.gradient_NM)
        residual_NM = model.gradient_NM
        direction_NM = preconditioned_NM = preconditioner_NM * residual_NM
        size_M = first_M = (residual_NM * preconditioned_NM).sum(0)
        for _ in range(_INNER):
            if bool((size_M <= _EXACT**2 * first_M).all()):
                break
            curved_NM = self._curved(direction_NM)
            length_M = _ratio(size_M, (direction_NM * curved_NM).sum(0))
            step_NM = step_NM + length_M * direction_NM
            residual_NM = residual_NM - length_M * curved_NM
            preconditioned_NM = preconditioner_NM * residual_NM
            before_M, size_M = size_M, (residual_NM * preconditioned_NM).sum(0)
            direction_NM = preconditioned_NM + _ratio(size_M, before_M) * direction_NM
        return step_NM

    def _curved(self, direction_NM: Tensor) -> Tensor:
        curved_NM = torch.zeros_like(direction_NM)
        for number, block in enumerate(self._samples):
            curved_NM += block.x_PN.T @ (self._curvature[number] * (block.x_PN @ direction_NM))
        return curved_NM * self._support_NM


def _ratio(over_M: Tensor, under_M: Tensor) -> Tensor:
    """Zero where a neuron has nothing left to gain."""
    return torch.where(under_M > 0, over_M / under_M.clamp(min=1e-38), 0.0)
