"""Two networks of one supernet, the first of which answers where it is sure: which two, and what is to be expected of them.

A cascade whose small network hands on what it is unsure of (BranchyNet, arXiv 1709.01686, has the exit; here it is another slice
of the supernet). What is to be expected, the accuracy predictor tells without an image. It holds that an image of difficulty u is
recognised with probability exp(-u s), u being Gamma distributed with mean 1 and shape alpha. A network whose probabilities are
calibrated is as sure as it is likely to be right: what it answers at a threshold t is right as often as the pictures with
u <= -ln t / s are recognised. How many it answers is measured beside (`Confidence`), since it is less sure of easy pictures.

Shapes: P genotypes, G genes, A labels that the task asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekit.assembler.assembly import Assembly
from edgekit.assembler.confidence import Confidence
from edgekit.assembler.costs import CostTables
from edgekit.assembler.judge import Judge
from edgekit.assembler.searcher import Searcher
from edgekit.core.budget import Budget, Cost
from edgekit.core.errors import InfeasibleError, UsageError
from edgekit.tasks.task import Task

Genes = NDArray[np.int64]
Values = NDArray[np.float64]

HALVINGS = 50
LARGEST_FACTOR = 1e3


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyExit:
    """The first network, the last, and what is predicted of both together.

    `share` of the pictures stay with the first network, with an interval that holds what its accuracy's interval allows;
    `accuracy` is that of the answers of both.
    """

    threshold: float
    first: Assembly
    last: Assembly
    share: float
    share_interval: tuple[float, float]
    accuracy: float
    accuracy_interval: tuple[float, float]

    @property
    def worst_case(self) -> Cost:
        """Of a picture that both networks see."""
        names = (field.name for field in fields(Cost))
        return Cost(**{name: getattr(self.first.cost, name) + getattr(self.last.cost, name) for name in names})

    def mean(self, name: str, share: float) -> float:
        """A cost by name where `share` of the pictures stay with the first network."""
        return float(getattr(self.first.cost, name) + (1 - share) * getattr(self.last.cost, name))


def find_early_exit(
    searcher: Searcher,
    task: Task,
    budget: Budget,
    tables: CostTables,
    confidence: Confidence,
    *,
    threshold: float,
    seed: int,
) -> EarlyExit:
    """The limits of the budget hold for a picture that both networks see: their costs are added.

    The first network is the one that makes the mean latency least beside the network that the limits allow alone, within half of
    every limit; the last is the best within what the first leaves. Raises UsageError for a floor, InfeasibleError where no two
    networks fit, where the second would be no better than the first, or where the mean latency would be no less than that of
    the network that the limits allow alone.
    """
    if budget.min_accuracy is not None:
        raise UsageError(
            "--min-accuracy asks for the fastest network that keeps a floor, and an early exit may fall below it",
            hint="give limits such as --latency-ms, or a floor without an early exit",
        )
    budget = budget.resolve(tables.full)
    judge = searcher.judge_of(task)
    alone = searcher.search(task, budget, tables, seed=seed)
    try:
        genes = _first(
            searcher, judge, alone, _half(budget), tables, partial(confidence.sure_share, judge, threshold=threshold)
        )
    except InfeasibleError as error:
        raise InfeasibleError(
            f"no two networks fit: the limits hold for both together; in half of them, {error.message}",
            hint="raise the limits, or leave out --early-exit",
        ) from error
    first = searcher.assembly(genes, judge, tables)
    last = searcher.search(task, _without(budget, first.cost), tables, seed=seed)
    if last.accuracy <= first.accuracy:
        raise InfeasibleError(
            f"the second network would not be better than the first, {first.genotype}: the limits hold for both together",
            hint="raise the limits, or leave out --early-exit",
        )
    found = predict_early_exit(searcher, judge, first, last, confidence, threshold)
    mean_ms = found.mean("latency_ms", found.share)
    if mean_ms >= alone.cost.latency_ms:
        raise InfeasibleError(
            f"an early exit at {threshold:g} would take {mean_ms:.3g} ms on average, and one network within the same limits "
            f"{alone.cost.latency_ms:.3g} ms",
            hint="leave out --early-exit, or raise the limits",
        )
    return found


def _first(
    searcher: Searcher,
    judge: Judge,
    alone: Assembly,
    budget: Budget,
    tables: CostTables,
    sure_share: Callable[[Genes], Values],
) -> NDArray[np.int64]:
    searcher.check_room(judge, budget, tables)

    def score(genes_PG: Genes) -> Values:
        mean_ms_P: Values = tables.of_genes(genes_PG)["latency_ms"] + (1 - sure_share(genes_PG)) * alone.cost.latency_ms
        return -mean_ms_P

    return searcher.refine(searcher.recall(judge, budget, tables), partial(tables.within, budget=budget), score)


def predict_early_exit(
    searcher: Searcher, judge: Judge, first: Assembly, last: Assembly, confidence: Confidence, threshold: float
) -> EarlyExit:
    """What is to be expected of two given networks, without an image."""
    spec = searcher.spec
    genes_2G = np.array([spec.genes(first.genotype), spec.genes(last.genotype)])
    rates_2A, alpha_2A, weights_A = judge.difficulties(genes_2G)
    factors = [1.0, *(_factor_of(rates_2A[0], alpha_2A[0], weights_A, accuracy) for accuracy in first.interval)]
    share, fewest, most = (
        float(confidence.sure_share(judge, genes_2G[:1], threshold, factor=factor)[0]) for factor in factors
    )
    accuracy = _accuracy(rates_2A, alpha_2A, weights_A, threshold)
    low, high = (end - last.accuracy for end in last.interval)
    return EarlyExit(
        threshold=threshold,
        first=first,
        last=last,
        share=share,
        share_interval=(min(share, fewest), max(share, most)),
        accuracy=accuracy,
        accuracy_interval=(max(0.0, accuracy + low), min(1.0, accuracy + high)),
    )


def _factor_of(rates_A: Values, alpha_A: Values, weights_A: Values, accuracy: float) -> float:
    """The factor on all rates at which a network has this accuracy, between 1 / LARGEST_FACTOR and LARGEST_FACTOR."""
    low, high = -np.log(LARGEST_FACTOR), np.log(LARGEST_FACTOR)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        reached = np.exp(-alpha_A * np.log1p(np.exp(middle) * rates_A / alpha_A)) @ weights_A
        low, high = (middle, high) if reached > accuracy else (low, middle)
    return float(np.exp(low))


def _accuracy(rates_2A: Values, alpha_2A: Values, weights_A: Values, threshold: float) -> float:
    """Of the answers of both networks: the first's to the pictures up to the hardest that it is sure of, the last's to the others.

    What is hard for one is hard for the other: the same share of a label's pictures are the hardest for both. The mean of
    exp(-u s) over u up to c is (1 + s / alpha)^-alpha times the Gamma distribution, of rate alpha + s, at c.
    """
    from scipy.special import gammainc, gammaincinv

    hardest_A = max(0.0, -np.log(threshold)) / rates_2A[0]
    easy_A = gammainc(alpha_2A[0], alpha_2A[0] * hardest_A)
    hardest_2A = np.stack([hardest_A, gammaincinv(alpha_2A[1], easy_A) / alpha_2A[1]])
    whole_2A = np.exp(-alpha_2A * np.log1p(rates_2A / alpha_2A))
    easy_2A = whole_2A * gammainc(alpha_2A, (alpha_2A + rates_2A) * hardest_2A)
    return float((easy_2A[0] + whole_2A[1] - easy_2A[1]) @ weights_A)


def _half(budget: Budget) -> Budget:
    """Of a resolved budget."""
    return replace(budget, **{name: limit / 2 for name, limit in _limits(budget).items()})


def _without(budget: Budget, cost: Cost) -> Budget:
    """What a network of this cost leaves of a resolved budget."""
    return replace(budget, **{name: limit - getattr(cost, name) for name, limit in _limits(budget).items()})


def _limits(budget: Budget) -> dict[str, float]:
    return {
        field.name: limit for field in fields(Cost) if isinstance(limit := getattr(budget, field.name), (int, float))
    }
