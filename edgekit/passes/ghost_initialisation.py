"""Ghost modules out of trained weights, in closed form: which channels are computed, which are made of which, and how.

A channel's values before its activation, y_j, are predicted from the finished values z_i of another at the same place and
around it, by ridge regression over the shifts of a depthwise kernel and a constant. What counts is the error behind the
activation: where a ReLU gives zero, any prediction below zero is as good (the one-sided part of Net-Trim's constraint,
arXiv 1611.05162). That makes the regression convex, no longer linear; it is solved by a few linear ones, each with the targets
that the last one leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

RIDGE: Final = 1e-4
"""Of the mean square of a regressor."""
STEPS: Final = 3
"""Linear regressions for one that is one-sided."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFits:
    """`w_CCK[i, j]` predicts channel j from channel i: d * d shifts, then the constant.

    `error_CC[i, j]` is the squared error behind the activation, summed over places; on the diagonal that of the channel as it is.
    """

    w_CCK: Tensor
    error_CC: Tensor


def fit_pairs(
    patches_CKT: Tensor, now_CT: Tensor, wanted_CT: Tensor, activation: nn.Module, *, steps: int = STEPS
) -> PairFits:
    """All pairs. `patches_CKT` are the shifts of each finished channel, `now_CT` and `wanted_CT` what it is before the activation
    in the network as it is and in the original."""
    finished_CT = activation(wanted_CT)
    fits = [fit(one_KT, wanted_CT, activation, steps=steps) for one_KT in patches_CKT]
    error_CC = torch.stack([_error(predicted_CT, finished_CT, activation) for _, predicted_CT in fits])
    error_CC.fill_diagonal_(0)
    error_CC += torch.diag(_error(now_CT, finished_CT, activation))
    return PairFits(w_CCK=torch.stack([w_CK for w_CK, _ in fits]), error_CC=error_CC)


def fit(shifts_KT: Tensor, wanted_CT: Tensor, activation: nn.Module, *, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """(`w_CK`, the constant last; predicted_CT) of channels that are all made of one."""
    x_KT = torch.cat([shifts_KT, torch.ones_like(shifts_KT[:1])])
    gram_KK = (x_KT @ x_KT.T).double()
    ridge_K = torch.full_like(gram_KK[0], RIDGE * float(gram_KK.diagonal()[:-1].mean()))
    # A channel that is always zero still has a solution: the constant.
    factor_KK = torch.linalg.cholesky(gram_KK + torch.diag(ridge_K + 1e-9 * gram_KK.diagonal().max()))
    one_sided = isinstance(activation, nn.ReLU)
    target_CT = wanted_CT.clamp(min=0) if one_sided else wanted_CT
    for _ in range(steps if one_sided else 1):
        w_KC = torch.cholesky_solve((x_KT @ target_CT.T).double(), factor_KK).to(x_KT)
        predicted_CT = w_KC.T @ x_KT
        target_CT = torch.where(wanted_CT > 0, wanted_CT, predicted_CT.clamp(max=0))
    return w_KC.T, predicted_CT


def variance_of(finished_CT: Tensor) -> float:
    """Of all channels and places in sum."""
    return float(finished_CT.var(1, correction=0).sum()) * finished_CT.shape[1]


def _error(predicted_CT: Tensor, finished_CT: Tensor, activation: nn.Module) -> Tensor:
    error_C: Tensor = (activation(predicted_CT) - finished_CT).square().sum(1)
    return error_C


def choose_primaries(error_CC: Tensor, count: int) -> list[int]:
    """Greedy facility location: each time the channel that lowers most the sum, over channels, of the least error.

    `error_CC[i, j]` is that of channel j when made of channel i; of j itself on the diagonal.
    """
    chosen: list[int] = []
    # Before the first choice every channel costs as much as the worst way of making it.
    least_C = error_CC.max(0).values
    for _ in range(count):
        gain_C = (least_C - torch.minimum(error_CC, least_C)).sum(1)
        gain_C[chosen] = -torch.inf
        chosen.append(int(gain_C.argmax()))
        least_C = torch.minimum(least_C, error_CC[chosen[-1]])
    return chosen


def assign_ghosts(error_CC: Tensor, primaries: list[int], ratio: int) -> list[list[int]]:
    """The ghosts of each primary, `ratio - 1` apiece, of least error in sum (the Hungarian method)."""
    ghosts = [channel for channel in range(len(error_CC)) if channel not in primaries]
    slots = [primary for primary in primaries for _ in range(ratio - 1)]
    rows, columns = linear_sum_assignment(error_CC[slots][:, ghosts].double().numpy())
    by_slot = {int(row): ghosts[int(column)] for row, column in zip(rows, columns, strict=True)}
    return [[by_slot[first + q] for q in range(ratio - 1)] for first in range(0, len(slots), ratio - 1)]


def order_of(primaries: list[int], ghosts: list[list[int]]) -> Tensor:
    """The channels of a Ghost module as it gives them: primaries, then the ghosts of each."""
    return torch.from_numpy(np.array([*primaries, *(ghost for own in ghosts for ghost in own)], dtype=np.int64))
