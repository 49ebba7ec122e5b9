"""Tasks of every kind over a few labels."""

from hypothesis import strategies as st

from edgekit.tasks.task import Group, Task, TaskKind


@st.composite
def any_task(draw: st.DrawFn, labels: int) -> Task:
    kind = draw(st.sampled_from(TaskKind))
    other = kind is not TaskKind.PRESENCE and draw(st.booleans())
    fewest = 1 if kind is TaskKind.PRESENCE or other else 2
    indices = tuple(sorted(draw(st.sets(st.integers(0, labels - 1), min_size=fewest, max_size=labels - 1))))
    groups = draw(groupings(indices, fewest)) if kind is TaskKind.GROUPED else ()
    return Task(kind=kind, indices=indices, groups=groups, other=other, text="drawn")


@st.composite
def groupings(draw: st.DrawFn, indices: tuple[int, ...], fewest: int) -> tuple[Group, ...]:
    """The labels in `fewest` groups or more."""
    number = draw(st.integers(fewest, len(indices)))
    rest = len(indices) - number
    free = draw(st.lists(st.integers(0, number - 1), min_size=rest, max_size=rest))
    members: dict[int, list[int]] = {}
    for index, group in zip(indices, draw(st.permutations([*range(number), *free])), strict=True):
        members.setdefault(group, []).append(index)
    return tuple(Group(name=f"group {group}", indices=tuple(listed)) for group, listed in members.items())
