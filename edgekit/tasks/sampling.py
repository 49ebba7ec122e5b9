"""Tasks to train and to judge with: random ones, and those that a vocabulary's attributes compose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from edgekit.tasks.grammar import canonical_text, quoted
from edgekit.tasks.task import Task
from edgekit.tasks.vocabulary import Vocabulary

_MAX_FACTORS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """A task text over attributes and ancestors, and the label indices that it selects."""

    text: str
    indices: tuple[int, ...]


def random_task(
    generator: np.random.Generator, vocabulary: Vocabulary, n_labels: int, *, exclude: Set[frozenset[int]] = frozenset()
) -> Task:
    """A classify task of `n_labels` labels, uniform over all sets of that size that are not in `exclude`.

    Raises ValueError where the vocabulary has no such set.
    """
    n = len(vocabulary)
    if not 0 < n_labels <= n or (n_labels == 1 and n == 1):
        raise ValueError(f"no task of {n_labels} labels out of {n}")
    # Redrawing ends: at least one set is free, so that no more than len(exclude) + 1 draws are expected.
    if sum(len(labels) == n_labels for labels in exclude) >= math.comb(n, n_labels):
        raise ValueError(f"every set of {n_labels} labels out of {n} is excluded")
    indices = _draw(generator, n, n_labels)
    while indices in exclude:
        indices = _draw(generator, n, n_labels)
    other = n_labels == 1
    return Task(indices=tuple(sorted(indices)), other=other, text=canonical_text(indices, vocabulary, other=other))


def _draw(generator: np.random.Generator, n: int, n_labels: int) -> frozenset[int]:
    return frozenset(generator.choice(n, size=n_labels, replace=False).tolist())


def compositions(vocabulary: Vocabulary) -> tuple[Composition, ...]:
    """All that one selector or the union of two selects, where that is between 2 labels and all but one.

    A selector is a conjunction of 1 to 3 attributes, or an ancestor. Of several texts for the same labels the first
    counts, and those with fewer selectors come first; the order depends on the vocabulary alone.
    """
    parts = _distinct(_selectors(vocabulary))
    unions = ((f"{one}, {two}", first | second) for (first, one), (second, two) in combinations(parts.items(), 2))
    found = _distinct([*((text, labels) for labels, text in parts.items()), *unions])
    return tuple(
        Composition(text=text, indices=tuple(sorted(labels)))
        for labels, text in found.items()
        if 2 <= len(labels) < len(vocabulary)
    )


def _distinct(selections: Iterable[tuple[str, frozenset[int]]]) -> dict[frozenset[int], str]:
    """The first text of each set of labels, the empty set aside."""
    texts: dict[frozenset[int], str] = {}
    for text, labels in selections:
        if labels:
            texts.setdefault(labels, text)
    return texts


def _selectors(vocabulary: Vocabulary) -> Iterator[tuple[str, frozenset[int]]]:
    pairs = {
        key: [(f"{quoted(key)}={quoted(value)}", frozenset(vocabulary.by_attribute(key, value))) for value in values]
        for key, values in vocabulary.attributes.items()
    }
    for size in range(1, _MAX_FACTORS + 1):
        for keys in combinations(pairs, size):
            for factors in product(*(pairs[key] for key in keys)):
                texts, selections = zip(*factors, strict=True)
                yield " & ".join(texts), frozenset.intersection(*selections)
    for ancestor in vocabulary.ancestors:
        if vocabulary.by_name(ancestor) is None:
            labels = {*vocabulary.by_ancestor(ancestor), *vocabulary.by_synonym(ancestor)}
            yield quoted(ancestor), frozenset(labels)


def split_compositions(
    vocabulary: Vocabulary, held_out: float = 0.1, *, seed: int
) -> tuple[tuple[Composition, ...], tuple[Composition, ...]]:
    """The compositions to train with and those kept out of training: the share `held_out`, but at least 2.

    No held-out one has the labels of a seen one. Raises ValueError where there are fewer than 3 compositions or the
    share leaves none to train with.
    """
    listed = compositions(vocabulary)
    n_held_out = max(2, round(held_out * len(listed)))
    if not 0 < held_out < 1 or n_held_out >= len(listed):
        raise ValueError(f"cannot hold {held_out:g} of {len(listed)} compositions out")
    chosen = set(np.random.default_rng(seed).permutation(len(listed))[:n_held_out].tolist())
    seen = tuple(composition for position, composition in enumerate(listed) if position not in chosen)
    return seen, tuple(listed[position] for position in sorted(chosen))
