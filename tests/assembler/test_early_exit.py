"""Which network goes first, and what is predicted of two, on supernets whose genotypes can all be tried."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_assemblers import all_genes, cost_of, searcher, tables, with_archive

from edgekit.assembler.confidence import Confidence, MeasuredShares, with_haze
from edgekit.assembler.early_exit import EarlyExit, find_early_exit, predict_early_exit
from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError, InfeasibleError, UsageError
from edgekit.tasks.task import Task

PRICING = cost_of()
SEARCHER = searcher(1, monotone=True)
SEARCHER.predictor.level.fill_(-3.5)  # networks good enough to be sure
SEARCHER = with_archive(SEARCHER)
TASK = Task(indices=(0, 2, 5), text="three")
TABLES = tables(TASK, PRICING)
JUDGE = SEARCHER.judge_of(TASK)
GENES = all_genes()
CAUTIOUS = Confidence(sharpness=2.0, haze=0.02, images=100)
PICTURES = 2000


def found(threshold: float, budget: Budget | None = None) -> EarlyExit:
    return find_early_exit(SEARCHER, TASK, budget or Budget(), TABLES, CAUTIOUS, threshold=threshold, seed=0)


def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    first, last = GENES[rng.integers(len(GENES), size=2)]
    return first, last


def predicted(first: np.ndarray, last: np.ndarray, threshold: float, confidence: Confidence) -> EarlyExit:
    one, other = (SEARCHER.assembly(genes, JUDGE, TABLES) for genes in (first, last))
    return predict_early_exit(SEARCHER, JUDGE, one, other, confidence, threshold)


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7])
def test_no_other_first_network_has_a_lower_mean_latency(threshold: float) -> None:
    exits = found(threshold)
    share_P = CAUTIOUS.sure_share(JUDGE, GENES, threshold)
    mean_ms_P = TABLES.of_genes(GENES)["latency_ms"] + (1 - share_P) * exits.last.cost.latency_ms
    assert exits.mean("latency_ms", exits.share) == pytest.approx(mean_ms_P.min(), rel=1e-6)


@pytest.mark.parametrize("name", ["latency_ms", "size_bytes", "peak_ram_bytes", "macs"])
def test_limits_hold_for_a_picture_that_both_networks_see(name: str) -> None:
    free = found(0.7)
    both = getattr(free.worst_case, name)
    limit = both - (getattr(free.last.cost, name) - getattr(free.first.cost, name)) / 3
    limited = found(0.7, Budget(**{name: limit}))
    assert getattr(limited.worst_case, name) <= limit < both
    assert limited.last.accuracy < free.last.accuracy


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0.3, 0.99))
def test_the_prediction_is_what_the_pictures_of_the_predictor_do(seed: int, threshold: float) -> None:
    """The quantiles of their difficulties are evenly spread; both networks find it as hard as that among the label's pictures."""
    from scipy.stats import gamma

    rng = np.random.default_rng(seed)
    first, last = pair(rng)
    exits = predicted(first, last, threshold, Confidence())
    rates_2A, alpha_2A, weights_A = JUDGE.difficulties(np.stack([first, last]))
    quantile_N1 = (np.arange(PICTURES)[:, None] + 0.5) / PICTURES
    right_2NA = [
        np.exp(-gamma.ppf(quantile_N1, alpha_A, scale=1 / alpha_A) * rates_A)
        for alpha_A, rates_A in zip(alpha_2A, rates_2A, strict=True)
    ]
    early_NA = right_2NA[0] >= threshold
    assert exits.share == pytest.approx(float(early_NA.mean(0) @ weights_A), abs=5e-3)
    accuracy = float(np.where(early_NA, *right_2NA).mean(0) @ weights_A)
    assert exits.accuracy == pytest.approx(accuracy, abs=5e-3)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_the_threshold_goes_from_the_first_network_to_the_last(seed: int) -> None:
    first, last = pair(np.random.default_rng(seed))
    exits = [predicted(first, last, threshold, CAUTIOUS) for threshold in (1e-9, 0.3, 0.6, 0.9, 0.99, 1.0)]
    shares = [one.share for one in exits]
    assert shares == sorted(shares, reverse=True)
    assert exits[0].accuracy == pytest.approx(exits[0].first.accuracy, abs=1e-3)
    assert shares[-1] == 0
    assert exits[-1].accuracy == pytest.approx(exits[-1].last.accuracy, abs=1e-6)
    for one in exits:
        low, high = one.share_interval
        assert low <= one.share <= high


def test_a_floor_is_refused() -> None:
    with pytest.raises(UsageError, match="floor"):
        found(0.9, Budget(min_accuracy=Share(fraction=0.9)))


def test_two_networks_that_do_not_fit_are_refused() -> None:
    smallest = TABLES.of_genes(GENES)["latency_ms"].min()
    with pytest.raises(InfeasibleError, match="no two networks fit"):
        found(0.9, Budget(latency_ms=1.2 * smallest))


def test_an_exit_that_hardly_any_picture_takes_is_refused() -> None:
    with pytest.raises(InfeasibleError, match="on average"):
        found(1.0)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0.3, 0.99))
def test_haze_keeps_pictures_from_leaving_where_labels_are_confused_most(seed: int, threshold: float) -> None:
    first, _ = pair(np.random.default_rng(seed))
    clear, hazy = (one.sure_share(JUDGE, first[None], threshold)[0] for one in (Confidence(), CAUTIOUS))
    assert hazy <= clear
    confused, seldom = (
        CAUTIOUS.sure_share(JUDGE, first[None], threshold, factor=factor)[0]
        / Confidence().sure_share(JUDGE, first[None], threshold, factor=factor)[0]
        for factor in (4.0, 0.25)
    )
    assert confused <= seldom


def test_haze_is_fitted_to_measured_shares() -> None:
    thresholds = np.array([0.5, 0.8, 0.95])
    measured = []
    for task in (TASK, Task(indices=(0, 1, 2, 3, 4, 5), text="all")):
        judge, genes = SEARCHER.judge_of(task), GENES[:: len(GENES) // 8]
        shares = np.stack([CAUTIOUS.sure_share(judge, genes, float(one)) for one in thresholds], axis=1)
        measured.append(MeasuredShares(judge=judge, genes_PG=genes, thresholds_T=thresholds, share_PT=shares))
    fitted = with_haze(Confidence(sharpness=2.0, images=100), measured)
    assert fitted.haze == pytest.approx(CAUTIOUS.haze, rel=0.02)
    assert (fitted.sharpness, fitted.images) == (2.0, 100)


def test_a_card_without_confidence_claims_nothing() -> None:
    assert Confidence.of_card({}) == Confidence(sharpness=1.0, haze=0.0, images=0)


@pytest.mark.parametrize(
    "record", [{"sharpness": 0.0}, {"haze": float("nan")}, {"haze": -0.1}, {"haze": "much"}, {"sharp": 1.0}, "no table"]
)
def test_a_damaged_card_is_refused(record: object) -> None:
    with pytest.raises(BadInputError, match="confidence"):
        Confidence.of_card({"confidence": record})
