"""Margins hold the truth as often as they say, where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_assemblers import LABELS, SOME_TASKS, SPEC, all_genes, random_predictor, searcher

from edgekit.assembler.judge import Judge
from edgekit.assembler.predictor import AccuracyPredictor, answers_of, genes_tensor
from edgekit.assembler.training import fitting
from edgekit.assembler.training.conformal import Errors, coverage, errors_of, fit_margin
from edgekit.assembler.training.measurements import Measurements
from edgekit.assembler.uncertainty import CONFIDENCE, Margin, Uncertainty
from edgekit.core.errors import BadInputError

# What the predictor does by itself: a part that no image would cure, and one like that of so many images.
OWN_ERRORS = ((0.01, 0.02), (0.0, 0.05), (0.02, 0.0))


def drawn(rng: np.random.Generator, own: tuple[float, float], images: int) -> tuple[Errors, np.ndarray]:
    """Errors seen on some images a label, and the true ones; tasks and genotypes share parts of both."""
    tasks, genotypes = 50, 40
    accuracy, labels = rng.uniform(0.6, 0.99, tasks), rng.integers(2, 30, tasks)
    variance_PT = np.tile(accuracy * (1 - accuracy) / labels, (genotypes, 1))

    def shared(part: float) -> np.ndarray:
        of_task, of_each = rng.standard_normal((1, tasks)), rng.standard_normal((genotypes, tasks))
        mixed: np.ndarray = np.sqrt(part) * of_task + np.sqrt(1 - part) * of_each
        return mixed

    true_PT = np.sqrt(own[0] ** 2 + own[1] * variance_PT) * shared(0.4)
    noise_PT = variance_PT / images
    error_PT = true_PT + np.sqrt(noise_PT) * shared(0.6)
    return Errors(error_PT=error_PT, noise_PT=noise_PT, variance_PT=variance_PT), true_PT


@pytest.mark.parametrize("own", OWN_ERRORS)
@pytest.mark.parametrize("images", [10, 100])
def test_the_true_accuracy_lies_inside_as_often_as_promised(own: tuple[float, float], images: int) -> None:
    rng = np.random.default_rng(0)
    both, below, seen, narrow = [], [], [], []
    for _ in range(40):
        errors, _ = drawn(rng, own, images)
        new, true_PT = drawn(rng, own, images)
        margin_PT = fit_margin(errors).of(new.variance_PT)
        both.append((np.abs(true_PT) <= margin_PT).mean())
        below.append((-true_PT <= fit_margin(errors, one_sided=True).of(new.variance_PT)).mean())
        seen.append(coverage(errors))
        ideal_PT = 1.645 * np.sqrt(own[0] ** 2 + own[1] * new.variance_PT)
        narrow.append((margin_PT / ideal_PT).mean())
    for found in (both, below, seen):
        assert CONFIDENCE - 0.03 <= np.mean(found) <= CONFIDENCE + 0.06
    assert np.mean(narrow) < 1.4


def test_a_perfect_predictor_gets_narrow_margins() -> None:
    errors, true_PT = drawn(np.random.default_rng(0), (0.0, 0.0), 30)
    assert (true_PT == 0).all()
    margin_PT = fit_margin(errors).of(errors.variance_PT)
    assert margin_PT.mean() < 0.5 * 1.645 * np.sqrt(errors.noise_PT).mean(), "most of the noise is taken off"


def some_genes(number: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    return [tuple(genes) for genes in rng.permutation(all_genes())[:number].tolist()]


def measured(
    truth: AccuracyPredictor,
    genes: list[tuple[int, ...]],
    images: int,
    rng: np.random.Generator,
    *,
    remembered: float = 0.0,
) -> Measurements:
    """Images of every label, answered rightly with the rates of `truth`; an image that is easy is so for all genotypes.

    Where images are `remembered` from the training, small networks answer fewer of them and large ones more.
    """
    open_P = np.array([sum(genes_of_one) / sum(SPEC.most_genes) for genes_of_one in [*genes, SPEC.most_genes]])
    power_P1 = torch.from_numpy(np.exp(remembered * (0.5 - open_P)))[:, None]
    shape = (len(genes) + 1, len(SOME_TASKS), LABELS)
    ease = rng.random((images, 1, len(SOME_TASKS), LABELS))
    right = np.zeros((images, *shape), bool)
    for index, task in enumerate(SOME_TASKS):
        answers_L, asked = answers_of(task, LABELS)
        recalls = (truth.recalls(genes_tensor([*genes, SPEC.most_genes]), answers_L, asked) ** power_P1).numpy()
        right[:, :, index, asked.numpy()] = ease[:, :, index, asked.numpy()] < recalls
    counts = torch.from_numpy(right.sum(0))
    both = torch.from_numpy((right & right[:, -1:]).sum(0))
    return Measurements(
        genes=tuple(genes),
        full_genes=SPEC.most_genes,
        tasks=SOME_TASKS,
        right_PTL=counts[:-1],
        both_PTL=both[:-1],
        full_right_TL=counts[-1],
        images_L=torch.full((LABELS,), images),
    )


def test_a_fitted_predictor_knows_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "PREDICTOR_STEPS", 500)
    truth = random_predictor(3, monotone=True)
    rng = np.random.default_rng(0)
    chosen = some_genes(160, rng)
    clean, fresh, changed = (measured(truth, chosen[:100], images, rng) for images in (20, 12, 40))
    quality = fitting.assess_predictor(SPEC, clean, fresh, changed, seed=0)
    assert 0.8 <= quality.coverage <= 1
    assert quality.mean_absolute_error < 0.06

    predictor = fitting.fit_predictor(SPEC, clean.with_images(fresh), changed, seed=0)
    uncertainty = Uncertainty(accuracy=quality.accuracy_margin, share=quality.share_margin)
    inside, kept = [], []
    unseen = np.array(chosen[100:])
    for task in SOME_TASKS:
        judge, true = (Judge(SPEC, one, uncertainty, task) for one in (predictor, truth))
        error = true.accuracy(unseen) - judge.accuracy(unseen)
        inside.append(np.abs(error) <= uncertainty.accuracy.of(judge.judge(unseen).variance_P))
        kept.append(true.accuracy(unseen) / true.full_accuracy >= judge.sure_share(unseen))
    assert np.mean(inside) >= CONFIDENCE - 0.05
    assert np.mean(kept) >= CONFIDENCE - 0.05


def test_what_large_networks_remember_makes_them_no_better_in_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "PREDICTOR_STEPS", 500)
    truth = random_predictor(3, monotone=True)
    rng = np.random.default_rng(0)
    chosen = some_genes(300, rng)
    clean = measured(truth, chosen[:100], 32, rng)
    changed = measured(truth, chosen[:100], 60, rng, remembered=6.0)
    predictor = fitting.fit_predictor(SPEC, clean, changed, seed=0)
    unseen = sorted(chosen[100:], key=sum)
    small, large = genes_tensor(unseen[:60]), genes_tensor(unseen[-60:])
    for genes in (small, large):
        error = np.mean([(predictor(genes, task) - truth(genes, task)).mean() for task in SOME_TASKS])
        assert abs(error) < 0.02


def test_labels_without_images_do_not_count() -> None:
    truth = random_predictor(3, monotone=True)
    whole = measured(truth, [SPEC.least_genes], 50, np.random.default_rng(0))
    holes = replace(whole, images_L=whole.images_L * (torch.arange(LABELS) > 0))
    for errors in errors_of(truth, holes):
        assert np.isfinite(errors.error_PT).all()
        assert np.abs(errors.error_PT).max() < 0.6


def test_a_fit_survives_tasks_without_any_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "PREDICTOR_STEPS", 60)
    whole = measured(random_predictor(3, monotone=True), [SPEC.least_genes], 20, np.random.default_rng(0))
    seen = torch.arange(LABELS) > 1
    holes = replace(whole, images_L=whole.images_L * seen, right_PTL=whole.right_PTL * seen)
    assert SOME_TASKS[0].indices == (0, 1)
    predictor = fitting.fit_predictor(SPEC, holes, whole, seed=0)
    assert all(torch.isfinite(parameter).all() for parameter in predictor.parameters())


def test_a_sure_predictor_is_right_about_what_has_images() -> None:
    """Labels are left out of the measured accuracy and of the predicted one, and tasks with none but such labels."""
    truth = random_predictor(3, monotone=True)
    seen = torch.arange(LABELS) > 1
    whole = measured(truth, [SPEC.least_genes, SPEC.most_genes], 4000, np.random.default_rng(0))
    holes = replace(whole, images_L=whole.images_L * seen, right_PTL=whole.right_PTL * seen).seen()
    assert len(holes.tasks) == len([task for task in SOME_TASKS if task.other or set(task.indices) - {0, 1}])
    for index in range(len(holes.tasks)):
        predicted, found = fitting.predicted_and_measured(truth, holes, index)
        torch.testing.assert_close(predicted, found, rtol=0, atol=0.04)


def test_an_older_card_gives_its_own_error_and_takes_shares_as_predicted() -> None:
    old = Uncertainty.of_card(
        {"predictor": {"mean_absolute_error": 0.01, "p90_absolute_error": 0.04, "spearman": None}}
    )
    variances = np.array([0.0, 0.01])
    assert old.accuracy.of(variances).tolist() == [0.04, 0.04]
    assert old.share.of(variances).tolist() == [0.0, 0.0]
    table = {"accuracy_margin": {"systematic": 0.01, "per_image": 0.1, "quantile": 2.0}, "p90_absolute_error": 0.04}
    table["share_margin"] = table["accuracy_margin"]
    new = Uncertainty.of_card({"predictor": table})
    assert new.share == Margin(systematic=0.01, per_image=0.1, quantile=2.0)


@pytest.mark.parametrize(
    "table",
    [{}, {"p90_absolute_error": "much"}, {"accuracy_margin": {"systematic": -1, "per_image": 0, "quantile": 1}}],
)
def test_a_card_with_nonsense_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match="accuracy predictor"):
        Uncertainty.of_card({"predictor": table})


def test_an_interval_holds_its_accuracy_and_stays_a_probability() -> None:
    small = searcher(0)
    for task in SOME_TASKS[::9]:
        judge = small.judge_of(task)
        for genes in all_genes()[::97]:
            low, high = judge.interval(genes)
            assert 0 <= low <= judge.accuracy(genes[None])[0] <= high <= 1
