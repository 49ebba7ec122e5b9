from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_tasks import any_task

from edgekit.tasks.task import Group, Task, TaskKind
from edgekit.tasks.vocabulary import Vocabulary

SIGNS = Vocabulary.load(Path(__file__).resolve().parents[2] / "models" / "signs43" / "vocabulary.json")
STOP, YIELD = 14, 13

tasks = any_task(43)


def group(*indices: int) -> Group:
    return Group(name="some", indices=indices)


def test_outputs_are_named_in_the_order_of_the_vocabulary() -> None:
    assert Task(indices=(YIELD, STOP), text="stop, yield").outputs(SIGNS) == ("yield", "stop")
    assert Task(indices=(STOP,), other=True, text="stop").outputs(SIGNS) == ("stop", "other")
    assert Task(kind=TaskKind.PRESENCE, indices=(STOP,), text="stop").outputs(SIGNS) == ("present", "absent")
    groups = Group(name="slow", indices=(1, 2)), Group(name="give way", indices=(YIELD, STOP))
    task = Task(kind=TaskKind.GROUPED, indices=(1, 2, YIELD, STOP), groups=groups, other=True, text="")
    assert task.outputs(SIGNS) == ("slow", "give way", "other")


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
        groups = [float(p_n[list(group.indices)].sum()) for group in task.groups]
        expected = [*(groups or asked), *([1 - sum(asked)] if task.other else [])]
    np.testing.assert_allclose(grouping @ p_n, expected, atol=1e-6)


@given(task=tasks)
def test_the_head_keeps_a_row_for_every_label_that_an_output_counts(task: Task) -> None:
    grouping = task.grouping(43)
    covered = grouping.sum(axis=0)
    assert covered.max() == 1
    assert task.head_rows(43) == tuple(np.flatnonzero(covered).tolist())
    assert task.sums in (None, len(grouping))
    if task.sums is None:
        assert (grouping[:, task.head_rows(43)] == np.eye(len(grouping))).all()
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
        {"indices": (1, 2), "kind": TaskKind.GROUPED, "groups": (group(1, 2),)},
        {"indices": (1, 2, 3), "kind": TaskKind.GROUPED, "groups": (group(1), group(2))},
        {"indices": (1, 2), "kind": TaskKind.GROUPED, "groups": (group(1, 2), group(2))},
        {"indices": (1, 2), "kind": TaskKind.GROUPED, "groups": (group(2), group(1))},
        {"indices": (1, 2), "kind": TaskKind.GROUPED, "groups": (group(), group(1, 2))},
        {"indices": (1, 2), "groups": (group(1), group(2))},
    ],
)
def test_a_task_that_asks_nothing_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Task(**fields, text="")  # type: ignore[arg-type]


def test_a_task_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(IndexError):
        Task(indices=(1, 43), text="").vector(43)
