from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.tasks.task import Task, TaskKind
from edgekit.tasks.vocabulary import Vocabulary

SIGNS = Vocabulary.load(Path(__file__).resolve().parents[2] / "models" / "signs43" / "vocabulary.json")
STOP, YIELD = 14, 13

index_sets = st.sets(st.integers(0, 42), min_size=2, max_size=42).map(lambda labels: tuple(sorted(labels)))
tasks = st.one_of(
    st.builds(Task, indices=index_sets, other=st.booleans(), text=st.just("")),
    st.builds(Task, kind=st.just(TaskKind.PRESENCE), indices=index_sets, text=st.just("")),
)


def test_outputs_are_named_in_the_order_of_the_vocabulary() -> None:
    assert Task(indices=(YIELD, STOP), text="stop, yield").outputs(SIGNS) == ("yield", "stop")
    assert Task(indices=(STOP,), other=True, text="stop").outputs(SIGNS) == ("stop", "other")
    assert Task(kind=TaskKind.PRESENCE, indices=(STOP,), text="stop").outputs(SIGNS) == ("present", "absent")


@given(task=tasks, seed=st.integers(0, 2**32 - 1))
def test_grouping_sums_the_right_probabilities(task: Task, seed: int) -> None:
    p_n = np.random.default_rng(seed).dirichlet(np.ones(43)).astype(np.float32)
    grouping = task.grouping(43)
    assert grouping.dtype == np.float32
    assert grouping.shape == (len(task.outputs(SIGNS)), 43)
    asked = [float(p_n[index]) for index in task.indices]
    if task.kind is TaskKind.PRESENCE:
        expected = [sum(asked), 1 - sum(asked)]
    else:
        expected = [*asked, 1 - sum(asked)] if task.other else asked
    np.testing.assert_allclose(grouping @ p_n, expected, atol=1e-6)


@given(task=tasks)
def test_all_labels_are_needed_exactly_where_the_outputs_cover_the_vocabulary(task: Task) -> None:
    covered = task.grouping(43).sum(axis=0)
    assert covered.max() == 1
    assert task.needs_all_labels == bool(covered.all())
    assert np.flatnonzero(task.vector(43)).tolist() == list(task.indices)


def test_how_a_task_is_put_does_not_make_it_another_task() -> None:
    one, two = Task(indices=(1, 2), text="a, b"), Task(indices=(1, 2), text="b, a")
    assert one == two
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    "fields",
    [
        {"indices": ()},
        {"indices": (2, 1)},
        {"indices": (1, 1)},
        {"indices": (-1, 1)},
        {"indices": (1,)},
        {"indices": (1,), "other": True, "kind": TaskKind.PRESENCE},
    ],
)
def test_a_task_that_asks_nothing_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Task(**fields, text="")  # type: ignore[arg-type]


def test_a_task_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(IndexError):
        Task(indices=(1, 43), text="").vector(43)
