"""The labels of a supernet: their names, attributes and ancestors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekit.core.errors import BadInputError
from edgekit.core.records import read_json, write_json

SCHEMA_VERSION = 1
OTHER = "other"


def normal(name: str) -> str:
    """The form in which names are compared: case aside, and runs of spaces, underscores and hyphens as one space."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names that differ in their normal form, each as it is first spelled."""
    spelled: dict[str, str] = {}
    for name in names:
        spelled.setdefault(normal(name), name)
    return tuple(spelled.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One class of a supernet; `index` is its row in the supernet's head, `ancestors` run from near to far."""

    name: str
    index: int
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    ancestors: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can be neither copied nor pickled, and whatever holds a vocabulary must be.
        return _restored, (self.name, self.index, dict(self.attributes), self.ancestors, self.synonyms)


def _restored(
    name: str, index: int, attributes: dict[str, str], ancestors: tuple[str, ...], synonyms: tuple[str, ...]
) -> Label:
    return Label(name=name, index=index, attributes=attributes, ancestors=ancestors, synonyms=synonyms)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The labels in the order of the supernet's outputs.

    Raises BadInputError where there are none, where indices do not count from 0, where two labels have the same name,
    or where a name cannot stand in a task text.
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if not self.labels:
            raise BadInputError("the vocabulary has no labels", hint="list at least one label")
        named: dict[str, Label] = {}
        for position, label in enumerate(self.labels):
            _check_words(label)
            if label.index != position:
                raise BadInputError(
                    f'label "{label.name}" has index {label.index} at position {position}',
                    hint="number the labels from 0 in the order of the outputs",
                )
            twin = named.setdefault(normal(label.name), label)
            if twin is not label:
                raise BadInputError(
                    f'label {twin.index} "{twin.name}" and label {label.index} "{label.name}" have the same name',
                    hint="rename one: names that differ only in case, spaces, underscores or hyphens count as the same",
                )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Reads a vocabulary.json. Raises BadInputError where it is missing, broken, or of another schema."""
        record = read_json(path, schema_version=SCHEMA_VERSION)
        try:
            listed = record.get("labels")
            if not isinstance(listed, list):
                raise BadInputError('"labels" is not a list', hint="list one object for each label")
            return cls(tuple(_from_json(index, entry) for index, entry in enumerate(listed)))
        except BadInputError as error:
            raise BadInputError(f"{path}: {error.message}", hint=error.hint) from error

    def save(self, path: Path) -> None:
        """Writes a vocabulary.json. Raises BadInputError where nothing can be written."""
        write_json(path, {"schema_version": SCHEMA_VERSION, "labels": [_to_json(label) for label in self.labels]})

    def by_name(self, name: str) -> Label | None:
        """The label of this name; synonyms are no names, see `by_synonym`."""
        wanted = normal(name)
        return next((label for label in self.labels if normal(label.name) == wanted), None)

    def by_synonym(self, synonym: str) -> tuple[int, ...]:
        """The indices of all labels also called so: two labels may share a synonym."""
        wanted = normal(synonym)
        return tuple(label.index for label in self.labels if wanted in map(normal, label.synonyms))

    def by_ancestor(self, ancestor: str) -> tuple[int, ...]:
        """The indices of all labels below this ancestor."""
        wanted = normal(ancestor)
        return tuple(label.index for label in self.labels if wanted in map(normal, label.ancestors))

    def by_attribute(self, key: str, value: str) -> tuple[int, ...]:
        """The indices of all labels whose attribute `key` has this value."""
        wanted = normal(key), normal(value)
        return tuple(
            label.index
            for label in self.labels
            if any((normal(key), normal(value)) == wanted for key, value in label.attributes.items())
        )

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Every ancestor, in the order in which the labels first name them."""
        return distinct(ancestor for label in self.labels for ancestor in label.ancestors)

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Every synonym, in the order in which the labels first name them."""
        return distinct(synonym for label in self.labels for synonym in label.synonyms)

    @property
    def attributes(self) -> dict[str, tuple[str, ...]]:
        """Every attribute with its values, in the order in which the labels first name them."""
        pairs = [pair for label in self.labels for pair in label.attributes.items()]
        return {
            key: distinct(value for other_key, value in pairs if normal(other_key) == normal(key))
            for key in distinct(key for key, _ in pairs)
        }


def _check_words(label: Label) -> None:
    """Raises BadInputError for a word that no task text could spell."""
    names = (label.name, *label.ancestors, *label.synonyms)
    for word in (*names, *label.attributes.keys(), *label.attributes.values()):
        if not normal(word):
            raise BadInputError(
                f'label {label.index} "{label.name}" holds the empty name "{word}"',
                hint="write a name with letters in it",
            )
        if '"' in word or not word.isprintable():
            raise BadInputError(
                f"label {label.index} holds the name {word!r}", hint="leave quotes and control characters out of names"
            )
    for name in names:
        if normal(name) == OTHER:
            raise BadInputError(
                f'label {label.index} holds the name "{name}", which is reserved for what a task leaves out',
                hint="rename it",
            )


def _from_json(index: int, entry: object) -> Label:
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
        raise BadInputError(f"label {index} has no name", hint='write each label as an object with a "name"')
    unknown = sorted(entry.keys() - {"name", "attributes", "ancestors", "synonyms"})
    if unknown:
        raise BadInputError(
            f'label {index} "{name}" has the unknown field "{unknown[0]}"',
            hint="known: name, attributes, ancestors, synonyms",
        )
    attributes = entry.get("attributes", {})
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise BadInputError(
            f'label {index} "{name}": "attributes" must be an object whose values are strings',
            hint='write {"colour": "red"}',
        )
    return Label(
        name=name,
        index=index,
        attributes=attributes,
        ancestors=_texts(entry, "ancestors", index),
        synonyms=_texts(entry, "synonyms", index),
    )


def _texts(entry: dict[str, Any], key: str, index: int) -> tuple[str, ...]:
    texts = entry.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadInputError(
            f'label {index} "{entry["name"]}": "{key}" must be a list of strings', hint='write ["dog", "animal"]'
        )
    return tuple(texts)


def _to_json(label: Label) -> dict[str, Any]:
    optional = {
        "attributes": dict(label.attributes),
        "ancestors": list(label.ancestors),
        "synonyms": list(label.synonyms),
    }
    return {"name": label.name} | {key: value for key, value in optional.items() if value}
