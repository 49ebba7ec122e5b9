"""Classes of the data and labels of the vocabulary: the one made from the other, or matched by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.assembler.training.data.source import Source
from edgekit.core.errors import BadInputError
from edgekit.core.names import did_you_mean
from edgekit.tasks.vocabulary import Label, Vocabulary, normal


def vocabulary_of(source: Source) -> Vocabulary:
    """The names of the classes as labels. Raises BadInputError where the data has none, or one that cannot be a label."""
    if not source.names:
        raise BadInputError(
            f"{source.path} does not name its classes, and no vocabulary.json lies beside the recipe",
            hint='write one: {"schema_version": 1, "labels": [{"name": "dog"}, {"name": "cat"}]}, with a label for each class',
        )
    try:
        return Vocabulary(tuple(Label(name=name, index=index) for index, name in enumerate(source.names)))
    except BadInputError as error:
        raise BadInputError(f"{source.path}: {error.message}", hint=f"of the class names: {error.hint}") from error


def labelled(source: Source, vocabulary: Vocabulary) -> Source:
    """Its classes numbered as the labels of the vocabulary.

    Classes with a name are matched by it, or by the synonym of one label; the others count as they are numbered. Raises
    BadInputError for numbers outside of the vocabulary, and for names that it does not have or that stand for several labels.
    """
    check_numbers(source, len(source.names) or len(vocabulary))
    if not source.names:
        return source
    index_C = np.array([_index_of(name, source, vocabulary) for name in source.names], np.int64)
    return replace(source, names=tuple(label.name for label in vocabulary.labels), y_N=index_C[source.y_N])


def check_numbers(source: Source, labels: int) -> None:
    """Raises BadInputError for a class whose number is not below `labels`."""
    first, last = int(source.y_N.min()), int(source.y_N.max())
    if first < 0 or last >= labels:
        owner = "the data names" if source.names else "the vocabulary has"
        raise BadInputError(
            f"labels in {source.path} run from {first} to {last}, but {owner} {labels}",
            hint="number them from 0, and train with the vocabulary of this data",
        )


def _index_of(name: str, source: Source, vocabulary: Vocabulary) -> int:
    label = vocabulary.by_name(name)
    if label:
        return label.index
    indices = vocabulary.by_synonym(name)
    if len(indices) == 1:
        return indices[0]
    if indices:
        several = " and ".join(f'"{vocabulary.labels[index].name}"' for index in indices[:3])
        raise BadInputError(
            f'the class "{name}" in {source.path} is a synonym of {several}',
            hint="rename it to the label that is meant",
        )
    known = [*(label.name for label in vocabulary.labels), *vocabulary.synonyms]
    raise BadInputError(
        f'the class "{name}" in {source.path} is not a label of the vocabulary', hint=did_you_mean(normal(name), known)
    )
