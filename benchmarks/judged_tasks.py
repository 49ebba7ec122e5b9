"""Which tasks the assembler is judged on: random labels, ancestors, and compositions seen and kept out of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.supernet.storage import SupernetFolder
from edgekit.tasks.sampling import Composition, compositions, random_task
from edgekit.tasks.task import Task
from edgekit.tasks.vocabulary import Vocabulary

# The first two are the examples that the documentation gives.
ANCESTORS_FIRST = ("dog", "vehicle")
FEWEST, MOST = 3, 40


def kept_out_compositions(folder: SupernetFolder) -> list[Composition]:
    """Those that the card lists, in its order: their labels were never a task in training."""
    listed = {composition.text: composition for composition in compositions(folder.vocabulary)}
    return [listed[text] for text in folder.card["kept_out_compositions"]]


def random_tasks(folder: SupernetFolder, sizes: Sequence[int], number: int, rng: np.random.Generator) -> list[Task]:
    """Of the sizes in turn; never the labels of a kept-out composition."""
    excluded = {frozenset(composition.indices) for composition in kept_out_compositions(folder)}
    return [random_task(rng, folder.vocabulary, sizes[i % len(sizes)], exclude=excluded) for i in range(number)]


def ancestor_tasks(vocabulary: Vocabulary, number: int) -> list[Task]:
    """Classification among the labels under an ancestor, 3 to 40 of them: evenly from the most labels to the fewest."""
    found: dict[tuple[int, ...], Task] = {}
    for ancestor in (*ANCESTORS_FIRST, *sorted(vocabulary.ancestors)):
        indices = vocabulary.by_ancestor(ancestor)
        if FEWEST <= len(indices) <= MOST:
            found.setdefault(indices, Task(indices=indices, text=ancestor))
    first = [task for task in found.values() if task.text in ANCESTORS_FIRST][:number]
    others = sorted((task for task in found.values() if task not in first), key=lambda task: -len(task.indices))
    wanted = min(number - len(first), len(others))
    places = np.linspace(0, len(others) - 1, wanted).round().astype(int).tolist()
    return [*first, *(others[place] for place in places)]


def composed_pairs(folder: SupernetFolder, number: int, rng: np.random.Generator) -> list[tuple[Task, Task]]:
    """(kept out, seen) of 3 to 40 labels: up to `number` drawn kept-out ones, each with a seen one of the nearest size."""
    kept_out = kept_out_compositions(folder)
    texts = {composition.text for composition in kept_out}
    seen = [one for one in compositions(folder.vocabulary) if one.text not in texts and _fits(one)]
    seen = [seen[place] for place in rng.permutation(len(seen))]
    drawn = [one for one in kept_out if _fits(one)]
    drawn = [drawn[place] for place in sorted(rng.permutation(len(drawn))[:number].tolist())]
    pairs = []
    for composition in drawn[: len(seen)]:
        twin = min(seen, key=lambda one: abs(len(one.indices) - len(composition.indices)))
        seen.remove(twin)
        pairs.append((_task(composition), _task(twin)))
    return pairs


def _fits(composition: Composition) -> bool:
    return FEWEST <= len(composition.indices) <= MOST


def _task(composition: Composition) -> Task:
    return Task(indices=composition.indices, text=composition.text)
