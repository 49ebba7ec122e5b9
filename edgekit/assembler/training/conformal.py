"""How wrong the accuracy predictor is where it is used: on genotypes, tasks and images that its fit had not seen.

Split conformal prediction with normalised errors (arXiv 2107.07511, sections 1 and 2.2), from which the noise of measuring on few
images is taken off. An error seen on n images holds the predictor's own error and binomial noise of known variance; the
predictor's own variance is fitted to what remains. The quantile is that of errors divided by both together; times the
predictor's own part alone it is the margin. So margins speak of the true accuracy, that of endless images of the kind held
out, under one assumption: that the predictor's errors are spread as their sum with the noise is. Images of one track are not
independent, as the noise takes them to be; what that adds is counted as the predictor's error, and widens the margins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from edgekit.assembler.predictor import AccuracyPredictor, answers_of, genes_tensor, weights_of
from edgekit.assembler.training.measurements import Measurements
from edgekit.assembler.uncertainty import CONFIDENCE, Margin, Uncertainty

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """Of P genotypes on T tasks: measured less predicted; the variance of measuring on these images; and the variance on one
    image of each label, which scales the margin."""

    error_PT: Values
    noise_PT: Values
    variance_PT: Values

    def part(self, genotypes: slice, tasks: slice) -> Errors:
        return Errors(
            error_PT=self.error_PT[genotypes, tasks],
            noise_PT=self.noise_PT[genotypes, tasks],
            variance_PT=self.variance_PT[genotypes, tasks],
        )


def fit_margin(errors: Errors, *, one_sided: bool = False) -> Margin:
    """The margin that holds the true figure with CONFIDENCE: on both sides, or the shortfall alone.

    The predictor's own variance is taken a standard error larger than the fit says: a few dozen tasks leave it uncertain, and
    a margin too narrow harms more than one too wide.
    """
    error_PT, noise_PT, variance_PT = errors.error_PT, errors.noise_PT, errors.variance_PT
    # Errors on hard tasks are larger: unweighted, they alone would decide.
    weight_PT = 1 / (noise_PT + np.median(noise_PT) + 1e-9)
    excess_PT = weight_PT * (error_PT**2 - noise_PT)
    terms = np.stack([weight_PT.ravel(), (weight_PT * variance_PT).ravel()], 1)
    (systematic, per_image), _ = nnls(terms, excess_PT.ravel())
    own = (terms @ (systematic, per_image)).mean()
    excess_T = excess_PT.mean(0)
    uncertain = excess_T.std() / math.sqrt(excess_T.size)
    if own > uncertain:
        systematic, per_image = ((1 + uncertain / own) * term for term in (systematic, per_image))
    else:  # the noise hides all: as much as it can hide
        systematic += uncertain / weight_PT.mean()
    own_PT = systematic + per_image * variance_PT
    scores = (-error_PT if one_sided else np.abs(error_PT)) / np.sqrt(noise_PT + own_PT + 1e-12)
    rank = min(1.0, math.ceil((scores.size + 1) * CONFIDENCE) / scores.size)
    return Margin(
        systematic=math.sqrt(systematic),
        per_image=float(per_image),
        quantile=max(0.0, float(np.quantile(scores, rank, method="higher"))),
    )


def calibrated(predictor: AccuracyPredictor, fresh: Measurements) -> tuple[Uncertainty, float]:
    """(margins, coverage) from genotypes, tasks and images that the predictor has not seen.

    The coverage is that of intervals around the measured accuracy whose margin was set on other genotypes and tasks.
    """
    accuracy, share = errors_of(predictor, fresh)
    return Uncertainty(accuracy=fit_margin(accuracy), share=fit_margin(share, one_sided=True)), coverage(accuracy)


def coverage(errors: Errors) -> float:
    """Of both halves of genotypes and tasks, each with the margin of the other: the share of measured figures inside.

    A measured figure strays by its noise besides, so that the interval is as much wider.
    """
    genotypes, tasks = (math.ceil(length / 2) for length in errors.error_PT.shape)
    halves = [errors.part(slice(genotypes), slice(tasks)), errors.part(slice(genotypes, None), slice(tasks, None))]
    inside = []
    for set_on, seen_on in (halves, halves[::-1]):
        margin = fit_margin(set_on)
        own = margin.systematic**2 + margin.per_image * seen_on.variance_PT
        width = margin.quantile * np.sqrt(own + seen_on.noise_PT)
        inside.append((np.abs(seen_on.error_PT) <= width).flatten())
    return float(np.concatenate(inside).mean())


def errors_of(predictor: AccuracyPredictor, measured: Measurements) -> tuple[Errors, Errors]:
    """(of the accuracy, of the share of the full supernet's accuracy). Labels without an image do not count."""
    columns = [_errors_of_task(predictor, measured, index) for index in range(len(measured.tasks))]
    accuracy, share = (np.stack(part, axis=2) for part in zip(*columns, strict=True))
    return (
        Errors(error_PT=accuracy[0], noise_PT=accuracy[1], variance_PT=accuracy[2]),
        Errors(error_PT=share[0], noise_PT=share[1], variance_PT=share[2]),
    )


def _errors_of_task(predictor: AccuracyPredictor, measured: Measurements, index: int) -> tuple[Values, Values]:
    """Error, noise and variance of the P genotypes, one below the other: of the accuracy, and of the share."""
    answers_L, asked = answers_of(measured.tasks[index], len(measured.images_L))
    genes = [*measured.genes, measured.full_genes]
    recalls_PA = predictor.recalls(genes_tensor(genes), answers_L, asked)
    seen = measured.images_L[asked] > 0
    recalls_PA, asked = recalls_PA[:, seen].double(), asked[seen]
    predicted_PA, full_A = recalls_PA[:-1], recalls_PA[-1]
    w_A = weights_of(answers_L[asked])
    n_A = measured.images_L[asked].double()
    right_PA, both_PA = (counts[:, index][:, asked] / n_A for counts in (measured.right_PTL, measured.both_PTL))
    full_right_A = measured.full_right_TL[index, asked] / n_A

    def stacked(error: Tensor, noise: Tensor, variance: Tensor) -> Values:
        rows: Values = np.stack([error.numpy(), noise.numpy(), variance.numpy()])
        return rows

    variance_PA = predicted_PA * (1 - predicted_PA)
    accuracy = stacked((right_PA - predicted_PA) @ w_A, (variance_PA / n_A) @ w_A**2, variance_PA @ w_A**2)

    loss_PA = (full_A - predicted_PA).abs()
    differ_PA = right_PA + full_right_A - 2 * both_PA - (right_PA - full_right_A) ** 2
    predicted, measured_full = (full_A @ w_A).clamp_min(1e-6), (full_right_A @ w_A).clamp_min(1e-6)
    share = stacked(
        right_PA @ w_A / measured_full - predicted_PA @ w_A / predicted,
        (differ_PA / n_A) @ w_A**2 / measured_full**2,
        loss_PA @ w_A**2 / predicted**2,
    )
    return accuracy, share
