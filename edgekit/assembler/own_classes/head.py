"""The head of own classes: ridge and temperature chosen by leaving pictures out, and how well it does on those left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from edgekit.assembler.own_classes.discriminant import Discriminant, Values
from edgekit.core.errors import BadInputError
from edgekit.core.proportion import wilson_interval

RIDGES = tuple(np.geomspace(1e-2, 1e3, 11).tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaveOneOut:
    """The answer to each picture by a head that never saw it, and its true class."""

    answers_N: NDArray[np.int64]
    y_N: NDArray[np.int64]

    @property
    def recalls(self) -> tuple[float, ...]:
        """Of each class, the share of its pictures answered rightly."""
        right_N = (self.answers_N == self.y_N).astype(float)
        return tuple((np.bincount(self.y_N, right_N) / np.bincount(self.y_N)).tolist())

    @property
    def accuracy(self) -> float:
        """With every class counting alike."""
        return float(np.mean(self.recalls))

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, for as many pictures as would tell as much if the classes had equally many."""
        sizes_C = np.bincount(self.y_N)
        return wilson_interval(self.accuracy, float(len(sizes_C) ** 2 / (1 / sizes_C).sum()))


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnHead:
    """Logits `f @ w_CD.T + b_C`; `ridge` is a multiple of the features' mean square about their mean."""

    w_CD: Values
    b_C: Values
    ridge: float
    left_out: LeaveOneOut


def fit_head(features_ND: Values, y_N: NDArray[np.int64]) -> OwnHead:
    """The discriminant whose ridge makes left-out pictures likeliest, scaled so that softmax gives usable probabilities.

    The answer to a left-out picture is that of the ridge which the other pictures choose: a picture has no say in the head
    that it is judged by. Classes are numbered from 0, each with two pictures or more. Raises BadInputError where the
    features do not differ.
    """
    discriminant = Discriminant.of(features_ND, y_N)
    if discriminant.spread <= 1e-12 * max(1.0, float((discriminant.centre_D**2).mean())):
        raise BadInputError("the network cannot tell the example pictures apart", hint="give pictures that differ more")
    scores_RNC = np.stack([discriminant.leave_one_out(ridge * discriminant.spread) for ridge in RIDGES])
    temperatures, losses_RN = zip(*(_calibrated(scores_NC, y_N) for scores_NC in scores_RNC), strict=True)
    totals_R = np.sum(losses_RN, 1)
    chosen = int(totals_R.argmin())
    by_others_N = (totals_R[:, None] - np.stack(losses_RN)).argmin(0)
    answers_N = scores_RNC.argmax(2)[by_others_N, np.arange(len(y_N))]
    w_CD, b_C = discriminant.head(RIDGES[chosen] * discriminant.spread)
    return OwnHead(
        w_CD=w_CD * temperatures[chosen],
        b_C=b_C * temperatures[chosen],
        ridge=RIDGES[chosen],
        left_out=LeaveOneOut(answers_N=answers_N, y_N=y_N),
    )


def _calibrated(scores_NC: Values, y_N: NDArray[np.int64]) -> tuple[float, Values]:
    """(the factor on the scores that makes the pictures likeliest, the loss of each picture with it).

    As if one more picture had been answered by every class alike: else a few pictures, all answered rightly, would call for
    certainty.
    """
    pictures, classes = scores_NC.shape
    target_NC = (pictures * np.eye(classes)[y_N] + 1) / (pictures + classes)
    unit = 1 / (scores_NC - scores_NC.mean(1, keepdims=True)).std()

    def losses(log_factor: float) -> Values:
        loss_N: Values = -(target_NC * log_softmax(scores_NC * (unit * 10**log_factor), 1)).sum(1)
        return loss_N

    best = minimize_scalar(lambda log_factor: losses(log_factor).sum(), bounds=(-3, 3), method="bounded")
    return float(unit * 10**best.x), losses(best.x)
