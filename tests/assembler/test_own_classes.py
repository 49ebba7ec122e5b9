"""Heads learnt from a few pictures: the closed form against plain refits, and what left-out pictures say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from edgekit.assembler.own_classes.discriminant import Discriminant
from edgekit.assembler.own_classes.head import LeaveOneOut, OwnHead, fit_head
from edgekit.assembler.own_classes.learning import stand_ins, with_own_head
from edgekit.core.errors import BadInputError
from edgekit.supernet.spec import BlockKind, BlockSpec, SupernetSpec
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task
from edgekit.tasks.vocabulary import Label, Vocabulary

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


def drawn(sizes: Sequence[int], features: int, *, apart: float, seed: int) -> tuple[Features, Labels]:
    """Normal features around class means that lie `apart` standard deviations from the origin, far from it, correlated."""
    rng = np.random.default_rng(seed)
    y_N = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    means_CD = rng.normal(size=(len(sizes), features)) * apart / features**0.5
    mixing = rng.normal(size=(features, features)) / features**0.5
    return (means_CD[y_N] + rng.normal(size=(len(y_N), features))) @ mixing + 3.0, y_N


def plain_scores(f_ND: Features, y_N: Labels, ridge: float, x_D: Features) -> Features:
    """The definition, with a matrix inverted."""
    classes, sizes = np.unique(y_N, return_counts=True)
    means = np.stack([f_ND[y_N == c].mean(0) for c in classes])
    within = f_ND - means[y_N]
    scatter = within.T @ within
    inverse = np.linalg.inv(scatter + ridge * np.eye(len(scatter)))
    excess = np.trace(inverse @ scatter) / (len(y_N) - len(classes))
    return np.array([m @ inverse @ x_D - (m @ inverse @ m - excess / n) / 2 for m, n in zip(means, sizes, strict=True)])


def centred(scores: Features) -> Features:
    """What softmax and argmax see of scores."""
    return scores - scores.mean(-1, keepdims=True)


shapes = st.tuples(st.lists(st.integers(2, 7), min_size=2, max_size=4), st.integers(1, 20))


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(-2, 3), st.integers(0, 99))
def test_leaving_out_in_closed_form_is_a_refit_without_the_picture(
    shape: tuple[list[int], int], log_ridge: float, seed: int
) -> None:
    f_ND, y_N = drawn(*shape, apart=2, seed=seed)
    discriminant = Discriminant.of(f_ND, y_N)
    ridge = 10**log_ridge * discriminant.spread
    found_NC = centred(discriminant.leave_one_out(ridge))
    for left_out in range(len(y_N)):
        others = np.arange(len(y_N)) != left_out
        refitted_C = centred(plain_scores(f_ND[others], y_N[others], ridge, f_ND[left_out]))
        np.testing.assert_allclose(found_NC[left_out], refitted_C, rtol=1e-8, atol=1e-8 * np.abs(refitted_C).max())


@settings(max_examples=20, deadline=None)
@given(shapes, st.integers(0, 99))
def test_the_head_scores_as_defined(shape: tuple[list[int], int], seed: int) -> None:
    f_ND, y_N = drawn(*shape, apart=2, seed=seed)
    w_CD, b_C = Discriminant.of(f_ND, y_N).head(0.7)
    expected = [plain_scores(f_ND, y_N, 0.7, x_D) for x_D in f_ND]
    np.testing.assert_allclose(centred(f_ND @ w_CD.T + b_C), centred(np.array(expected)), atol=1e-8)


def test_its_ends_are_lda_and_the_nearest_mean() -> None:
    f_ND, y_N = drawn([40, 40, 40], 5, apart=1.5, seed=1)
    x_ND, _ = drawn([60, 60, 60], 5, apart=1.5, seed=2)
    discriminant = Discriminant.of(f_ND, y_N)
    for ridge, reference in ((1e-9, LinearDiscriminantAnalysis()), (1e9, NearestCentroid())):
        w_CD, b_C = discriminant.head(ridge)
        np.testing.assert_array_equal((x_ND @ w_CD.T + b_C).argmax(1), reference.fit(f_ND, y_N).predict(x_ND))


def test_classes_far_apart_are_told_apart_with_confidence_that_grows_with_the_pictures() -> None:
    confidence = []
    for pictures in (5, 40):
        f_ND, y_N = drawn([pictures] * 4, 24, apart=40, seed=3)
        head = fit_head(f_ND, y_N)
        assert head.left_out.accuracy == 1
        p_NC = softmax(f_ND @ head.w_CD.T + head.b_C, 1)
        assert (p_NC.argmax(1) == y_N).all()
        confidence.append(p_NC.max(1).mean())
    assert 0.8 < confidence[0] < confidence[1] < 1


def nested(f_ND: Features, y_N: Labels) -> LeaveOneOut:
    """The honest way without any formula: everything, the ridge too, is fitted without the picture."""
    answers = []
    for left_out in range(len(y_N)):
        others = np.arange(len(y_N)) != left_out
        head = fit_head(f_ND[others], y_N[others])
        answers.append(int((head.w_CD @ f_ND[left_out] + head.b_C).argmax()))
    return LeaveOneOut(answers_N=np.array(answers), y_N=y_N)


@pytest.mark.parametrize("sizes", [(6, 6, 6), (4, 12)])
def test_where_there_is_nothing_to_learn_left_out_pictures_are_answered_by_chance(sizes: tuple[int, ...]) -> None:
    found = np.array([fit_head(*drawn(sizes, 20, apart=0, seed=seed)).left_out.accuracy for seed in range(24)])
    assert found.mean() == pytest.approx(1 / len(sizes), abs=2.5 * found.std() / len(found) ** 0.5)


def test_no_picture_has_a_say_in_the_head_that_it_is_judged_by() -> None:
    """As good as nested refits within 3 points, on average over draws; its interval is 18 points to either side."""
    draws = [drawn((6, 6), 20, apart=2, seed=seed) for seed in range(12)]
    found, plain = ([judge(*draw) for draw in draws] for judge in (fit_head, nested))
    assert np.mean([head.left_out.accuracy for head in found]) == pytest.approx(
        np.mean([left_out.accuracy for left_out in plain]), abs=0.03
    )


def test_an_interval_is_as_wide_as_so_few_pictures_make_it() -> None:
    equal = LeaveOneOut(y_N=np.repeat([0, 1], 10), answers_N=np.array([0] * 9 + [1] * 11))
    reference = binomtest(19, 20).proportion_ci(method="wilson")
    assert equal.accuracy == 0.95
    assert equal.interval == pytest.approx((reference.low, reference.high), abs=1e-6)
    # Many pictures of one class say nothing about the other.
    few_of_one = LeaveOneOut(y_N=np.repeat([0, 1], [5, 500]), answers_N=np.repeat([0, 1], [5, 500]))
    few = LeaveOneOut(y_N=np.repeat([0, 1], 5), answers_N=np.repeat([0, 1], 5))
    assert few.interval[0] < few_of_one.interval[0] < 0.85
    uneven = LeaveOneOut(y_N=np.repeat([0, 1], [2, 8]), answers_N=np.ones(10, np.int64))
    assert uneven.recalls == (0, 1)
    assert uneven.accuracy == 0.5


def test_equal_features_are_refused() -> None:
    with pytest.raises(BadInputError, match="cannot tell"):
        fit_head(np.ones((6, 4)), np.array([0, 1] * 3))


SPEC = SupernetSpec(
    image_sizes=(8, 16),
    stem_channels=4,
    blocks=(
        BlockSpec(kind=BlockKind.FUSED, in_channels=4, out_channels=6, hidden_channels=8, kernel=3, stride=2, bricks=2),
    ),
    labels=4,
)
VOCABULARY = Vocabulary(tuple(Label(name=name, index=index) for index, name in enumerate("abcd")))


def supernet() -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(SPEC).eval().requires_grad_(False)


def test_every_class_gets_a_label_of_its_own_to_stand_in() -> None:
    """Both classes look most like one label; the second choice of the one that minds less stands in for it."""
    net = supernet()
    x_NCHW = torch.rand(30, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    y_N = np.repeat(np.arange(3), 10)
    task = stand_ins(net, VOCABULARY, x_NCHW, y_N)
    p_CL = net(x_NCHW, SPEC.full).softmax(1).unflatten(0, (3, 10)).mean(1)
    assert len(set(p_CL.argmax(1).tolist())) < 3, "the case of interest: labels are wanted twice"
    best = max(
        float(p_CL[0, i] + p_CL[1, j] + p_CL[2, k])
        for i in range(4)
        for j in range(4)
        for k in range(4)
        if len({i, j, k}) == 3
    )
    reached = max(float(sum(p_CL[c, label] for c, label in enumerate(order))) for order in permutations(task.indices))
    assert reached == pytest.approx(best)
    assert task.text == ", ".join("abcd"[index] for index in task.indices)


@pytest.mark.parametrize("genotype", [SPEC.full, SPEC.smallest])
def test_a_subnet_with_an_own_head_answers_with_probabilities_of_the_classes(genotype) -> None:
    subnet = slice_subnet(supernet(), genotype, Task(indices=(0, 1), text=""))
    y_N = np.repeat(np.arange(3), 8)
    tints = torch.eye(3)[torch.from_numpy(y_N)][:, :, None, None]
    size = SPEC.image_size_of(genotype)
    x_NCHW = tints * 0.7 + 0.3 * torch.rand(24, 3, size, size, generator=torch.Generator().manual_seed(2))
    taught, head = with_own_head(subnet, x_NCHW, y_N)
    assert isinstance(head, OwnHead)
    p_NC = taught(x_NCHW)
    assert p_NC.shape == (24, 3)
    torch.testing.assert_close(p_NC.sum(1), torch.ones(24))
    assert (p_NC.argmax(1).numpy() == y_N).all()
    assert head.left_out.accuracy == 1
