from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.tasks.grammar import parse_task
from edgekit.tasks.sampling import compositions, random_task, split_compositions
from edgekit.tasks.vocabulary import Label, Vocabulary

SIGNS = Vocabulary.load(Path(__file__).resolve().parents[2] / "models" / "signs43" / "vocabulary.json")
TREE = Vocabulary(
    (
        Label(name="poodle", index=0, ancestors=("dog", "animal")),
        Label(name="collie", index=1, ancestors=("dog", "animal")),
        Label(name="tabby", index=2, ancestors=("cat", "animal")),
        Label(name="oak", index=3, ancestors=("tree",)),
        Label(name="elm", index=4, ancestors=("tree",)),
    )
)


@given(seed=st.integers(0, 2**32 - 1), n_labels=st.integers(1, 43))
def test_a_random_task_has_the_wanted_size_and_its_text_describes_it(seed: int, n_labels: int) -> None:
    task = random_task(np.random.default_rng(seed), SIGNS, n_labels)
    assert len(task.indices) == n_labels
    assert parse_task(task.text, SIGNS) == task
    assert random_task(np.random.default_rng(seed), SIGNS, n_labels) == task


def test_random_tasks_are_drawn_evenly() -> None:
    generator = np.random.default_rng(0)
    counts = sum(random_task(generator, SIGNS, 10).vector(43) for _ in range(2000))
    expected, deviation = 2000 * 10 / 43, np.sqrt(2000 * 10 / 43 * 33 / 43)
    assert np.abs(counts - expected).max() < 5 * deviation


def test_excluded_sets_are_never_drawn() -> None:
    generator = np.random.default_rng(0)
    pairs = {frozenset(pair) for pair in combinations(range(5), 2)}
    free = frozenset({1, 3})
    assert {random_task(generator, TREE, 2, exclude=pairs - {free}).indices for _ in range(20)} == {(1, 3)}
    with pytest.raises(ValueError, match="every set"):
        random_task(generator, TREE, 2, exclude=pairs)


@pytest.mark.parametrize("n_labels", [-1, 0, 44])
def test_a_task_of_an_impossible_size_is_refused(n_labels: int) -> None:
    with pytest.raises(ValueError, match="out of 43"):
        random_task(np.random.default_rng(0), SIGNS, n_labels)


def test_compositions_are_distinct_and_their_texts_select_their_labels() -> None:
    listed = compositions(SIGNS)
    assert len({composition.indices for composition in listed}) == len(listed)
    for composition in listed:
        assert 2 <= len(composition.indices) < 43
        assert parse_task(composition.text, SIGNS).indices == composition.indices
    assert compositions(SIGNS) == listed


def test_every_selector_and_every_union_of_two_is_listed() -> None:
    rows = [dict(label.attributes) for label in SIGNS.labels]
    choices = [[None, *values] for values in SIGNS.attributes.values()]
    selectors = set()
    for wanted in product(*choices):
        asked = {key: value for key, value in zip(SIGNS.attributes, wanted, strict=True) if value is not None}
        if asked:
            selectors.add(frozenset(i for i, row in enumerate(rows) if asked.items() <= row.items()))
    selectors.discard(frozenset())
    expected = {one | two for one, two in product(selectors, selectors)}
    assert {frozenset(composition.indices) for composition in compositions(SIGNS)} == {
        labels for labels in expected if 2 <= len(labels) < 43
    }


def test_ancestors_compose_too() -> None:
    listed = {composition.text: composition.indices for composition in compositions(TREE)}
    assert listed == {
        "dog": (0, 1),
        "animal": (0, 1, 2),
        "tree": (3, 4),
        "dog, tree": (0, 1, 3, 4),
        "cat, tree": (2, 3, 4),
    }


@settings(deadline=None)
@given(seed=st.integers(0, 100), held_out=st.floats(0.01, 0.5))
def test_the_split_keeps_a_share_out_of_training(seed: int, held_out: float) -> None:
    seen, kept_out = split_compositions(SIGNS, held_out, seed=seed)
    everything = compositions(SIGNS)
    assert sorted(seen + kept_out, key=everything.index) == list(everything)
    assert len(kept_out) == max(2, round(held_out * len(everything)))
    assert not {composition.indices for composition in seen} & {composition.indices for composition in kept_out}
    assert split_compositions(SIGNS, held_out, seed=seed) == (seen, kept_out)


def test_a_vocabulary_that_composes_nothing_cannot_be_split() -> None:
    plain = Vocabulary(tuple(Label(name=name, index=index) for index, name in enumerate("abc")))
    with pytest.raises(ValueError, match="cannot hold"):
        split_compositions(plain, seed=0)
