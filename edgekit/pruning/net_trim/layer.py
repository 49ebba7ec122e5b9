"""One layer: the program solved, certified, and repaired where the solution fails its certificate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import torch
from torch import Tensor

from edgekit.pruning.net_trim.admm import Admm
from edgekit.pruning.net_trim.certificate import RATIO_LIMIT, Certificate, certify
from edgekit.pruning.net_trim.refit import Refit
from edgekit.pruning.net_trim.samples import Samples

_COARSE: Final = 4e-4
_COARSE_ITERATIONS: Final = 400
_SOLVES: Final = 12
_CLOSE: Final = 0.004
"""How near to a wanted sparsity the search ends."""
_LEAST_GAIN: Final = 1e-4
_EXCESS_WEIGHT: Final = 100.0
"""Of the excess in a repair, which must keep both constraints."""


class Repair(StrEnum):
    """What made the certificate hold."""

    NONE = "none"
    PENALTY = "larger penalty"
    REFIT = "refit"
    BLEND = "blend with the original"


@dataclass(frozen=True, kw_only=True, slots=True)
class How:
    """How a layer is solved.

    An iteration ends below the relative residual `tolerance`, after so many iterations, or when it is `late`.
    With `reweightings` the 1-norm is weighted, at first by the layer's own weights and then by the solution: 0 is the program of
    the paper. With `refit` the solution's support is fitted again.
    """

    reweightings: int = 0
    refit: bool = False
    tolerance: float = 3e-5
    iterations: int = 10_000
    late: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True, slots=True)
class Trimmed:
    """New weights `u_NM` with true zeros and their certificate, beside that of the `program`'s solution before a refit.

    A blend has `refilled` weights that the program had set to zero.
    """

    u_NM: Tensor
    certificate: Certificate
    program: Certificate
    iterations: int
    repair: Repair = Repair.NONE
    refilled: int = 0

    @property
    def certified(self) -> bool:
        """The program's constraints were kept; a refit is taken only where it bounds the outputs' error by eps too."""
        return self.program.holds

    @property
    def sparsity(self) -> float:
        return sparsity_of(self.u_NM)


def sparsity_of(u_NM: Tensor) -> float:
    return float((u_NM == 0).double().mean())


def trim(
    samples: Samples, w_NM: Tensor, eps: float, *, how: How | None = None, allowed_NM: Tensor | None = None
) -> Trimmed:
    """The program at `eps` for weights `w_NM` that are feasible, or a repaired solution.

    `allowed_NM` (bool) are the weights that may be other than zero.
    """

    def given(_admm: Admm, _guess: float) -> tuple[float, int]:
        return eps, 0

    return _trim(samples, w_NM, given, how or How(), allowed_NM)


def trim_to_sparsity(
    samples: Samples, w_NM: Tensor, sparsity: float, *, how: How | None = None, allowed_NM: Tensor | None = None
) -> Trimmed:
    """As `trim`, at the eps whose solution has this share of zeros, or the nearest found.

    To about a point where samples determine the weights; with fewer samples than inputs solutions of unlike sparsity are as good.
    """
    how = how or How()
    # Below the error of the weights themselves nothing is known to be feasible.
    scale = samples.on_norm or 1.0
    least = max(certify(samples, w_NM, scale).error, _LEAST_GAIN * scale)

    def searched(admm: Admm, guess: float) -> tuple[float, int]:
        return _eps_for(admm, sparsity, least, max(2 * least, scale), guess, how)

    return _trim(samples, w_NM, searched, how, allowed_NM)


def _trim(
    samples: Samples,
    w_NM: Tensor,
    choose: Callable[[Admm, float], tuple[float, int]],
    how: How,
    allowed_NM: Tensor | None,
) -> Trimmed:
    """`choose` gives the eps of a program, from that of the one before or 0, and the iterations it took."""
    spent, eps, start_NM = 0, 0.0, w_NM
    for number in range(max(1, how.reweightings)):
        price_NM = prices(start_NM) if how.reweightings else torch.ones_like(w_NM)
        if allowed_NM is not None:
            price_NM = torch.where(allowed_NM, price_NM, math.inf)
        admm = Admm(samples, start_NM=start_NM, price_NM=price_NM)
        eps, iterations = choose(admm, eps)
        spent += iterations
        if number + 1 < how.reweightings:
            solution = admm.solve(
                eps, tolerance=min(_COARSE, 2 * how.tolerance), iterations=_COARSE_ITERATIONS, late=how.late
            )
            spent += solution.iterations
            start_NM = solution.u_NM
    trimmed = _finished(admm, w_NM, eps, how)
    return replace(trimmed, iterations=trimmed.iterations + spent)


def prices(u_NM: Tensor) -> Tensor:
    """Such that large weights of the last solution cost little: their magnitude counts, not their size.

    E. Candes, M. Wakin, S. Boyd, arXiv 0711.1612, equation 8, with their epsilon a tenth of the mean magnitude of what is not zero.
    """
    size_NM = u_NM.abs()
    mean = float(size_NM.sum() / (size_NM > 0).sum().clamp(min=1))
    return 1 / (size_NM / mean + 0.1) if mean else torch.ones_like(u_NM)


def _eps_for(admm: Admm, sparsity: float, least: float, most: float, guess: float, how: How) -> tuple[float, int]:
    """With the iterations it took.

    Sparsity grows with eps, all but for its last digits: a regula falsi on the logarithm of eps, each solution starting from the
    one before.
    """
    low, high = math.log(least), math.log(most)
    below, above = -sparsity, 1.0 - sparsity
    eps, nearest, spent, side = most, math.inf, 0, 0
    for number in range(_SOLVES):
        share = min(0.9, max(0.1, below / (below - above)))
        middle = low + share * (high - low)
        if number == 0:
            middle = min(high, max(low, math.log(guess or 0.3 * most)))
        solution = admm.solve(
            math.exp(middle),
            tolerance=min(_COARSE, 2 * how.tolerance),
            iterations=_COARSE_ITERATIONS,
            late=how.late,
        )
        spent += solution.iterations
        off = sparsity_of(solution.u_NM) - sparsity
        if abs(off) < nearest:
            eps, nearest = math.exp(middle), abs(off)
        if nearest < _CLOSE or how.late():
            break
        # The end that stays counts half (Illinois), or the other would creep.
        if off < 0:
            low, below, above, side = middle, off, above / 2 if side < 0 else above, -1
        else:
            high, above, below, side = middle, off, below / 2 if side > 0 else below, 1
    return eps, spent


def _finished(admm: Admm, w_NM: Tensor, eps: float, how: How) -> Trimmed:
    samples = admm.samples
    solution = admm.solve(eps, tolerance=how.tolerance, iterations=how.iterations, late=how.late)
    certificate = certify(samples, solution.u_NM, eps)
    trimmed = Trimmed(u_NM=solution.u_NM, certificate=certificate, program=certificate, iterations=solution.iterations)
    if not certificate.holds:
        trimmed = repaired(admm, trimmed, w_NM, how)
    return refitted(samples, trimmed) if how.refit else trimmed


def repaired(admm: Admm, trimmed: Trimmed, w_NM: Tensor, how: How) -> Trimmed:
    """A solution whose certificate holds: by a larger penalty, by a refit on its support, or by a blend with `w_NM`.

    `w_NM` itself, with its certificate, where nothing else holds.
    """
    samples, eps = admm.samples, trimmed.program.eps
    admm.enlarge_penalty(10.0)
    solution = admm.solve(eps, tolerance=how.tolerance / 10, iterations=how.iterations, late=how.late)
    spent = trimmed.iterations + solution.iterations
    refit_NM = Refit(samples, solution.u_NM != 0, weight=_EXCESS_WEIGHT).from_start(solution.u_NM)
    for u_NM, repair in ((solution.u_NM, Repair.PENALTY), (refit_NM, Repair.REFIT)):
        certificate = certify(samples, u_NM, eps)
        if certificate.holds:
            return Trimmed(u_NM=u_NM, certificate=certificate, program=certificate, iterations=spent, repair=repair)
    return replace(blended(samples, solution.u_NM, w_NM, eps), iterations=spent)


def refitted(samples: Samples, trimmed: Trimmed) -> Trimmed:
    """Fitted again on the support: the layer's outputs come closer, or stay as they are.

    What is minimised is the squared error of the outputs, where the program wants the excess to be none: of a refit the
    certificate bounds that error.
    """
    u_NM = Refit(samples, trimmed.u_NM != 0, weight=1.0).from_start(trimmed.u_NM)
    certificate = certify(samples, u_NM, trimmed.program.eps)
    if certificate.output_ratio < min(trimmed.certificate.output_ratio, RATIO_LIMIT):
        return replace(trimmed, u_NM=u_NM, certificate=certificate)
    return trimmed


def blended(samples: Samples, u_NM: Tensor, w_NM: Tensor, eps: float) -> Trimmed:
    """(1 - t) u + t w with the least t, to a thousandth, whose certificate holds; t = 1 where none does."""
    u_NM, w_NM = u_NM.double(), w_NM.double()
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        t = (low + high) / 2
        if certify(samples, torch.lerp(u_NM, w_NM, t), eps).holds:
            high = t
        else:
            low = t
    blend_NM = torch.lerp(u_NM, w_NM, high)
    certificate = certify(samples, blend_NM, eps)
    return Trimmed(
        u_NM=blend_NM,
        certificate=certificate,
        program=certificate,
        iterations=0,
        repair=Repair.BLEND,
        refilled=int((blend_NM != 0).sum() - (u_NM != 0).sum()),
    )
