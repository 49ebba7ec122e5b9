"""The language of tasks.

    task   := term ("," term)*          union
    term   := factor ("&" factor)*      intersection
    factor := name | key "=" value      a label, a synonym, an ancestor, or an attribute

A name or value may hold spaces; in double quotes also the characters , & and =. The term `other` asks for one more
class: all labels that the task leaves out. A label's own name means that label alone; a synonym or an ancestor means
every label that bears it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.tasks.task import Group, Task, TaskKind
from edgekit.tasks.vocabulary import OTHER, Vocabulary, normal

_QUOTED_OR_CHARACTER = re.compile(r'"[^"]*"|[^"]')
_QUOTED_OR_COMMENT = re.compile(r'("[^"]*")|(?:^|\s)#.*')


@dataclass(frozen=True, kw_only=True, slots=True)
class _Union:
    """What each term selects, by the term's text, and whether the class other is asked for."""

    terms: dict[str, set[int]]
    other: bool

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(sorted(set().union(*self.terms.values())))


def parse_task(
    text: str, vocabulary: Vocabulary, *, presence: bool = False, grouped: bool = False, other: bool = False
) -> Task:
    """The task that a text, or a file of selectors (`@labels.txt`, or the name of an existing .txt file), describes.

    `grouped` gives each term one output, whatever it selects. `other` adds the class other, as the term does; a single class
    always gets it.
    Raises UsageError for a text that selects nothing or everything, that names what the vocabulary does not know, or whose
    groups overlap, BadInputError for a file that cannot be read or understood.
    """
    text = text.strip()
    union = _read_file(text, vocabulary) if _is_file(text) else _union(text, vocabulary)
    indices = union.indices
    if not indices:
        raise UsageError(
            f'"{text}" names no label',
            hint=f'{_known(vocabulary)}; "{OTHER}" stands for all labels that a task leaves out',
        )
    other = other or union.other
    if presence and grouped:
        raise UsageError(
            "a presence task has one group, all its labels",
            hint="ask for presence, or for one output per term, not for both",
        )
    if presence:
        if other:
            raise UsageError(
                f'a presence task has no class "{OTHER}"',
                hint=f'leave "{OTHER}" out: the second output, "absent", already says it',
            )
        if len(indices) == len(vocabulary):
            raise UsageError(
                f'"{text}" covers all {len(vocabulary)} labels: none is left to be absent', hint="name fewer labels"
            )
        return Task(kind=TaskKind.PRESENCE, indices=indices, text=text)
    groups = _groups(union.terms, vocabulary) if grouped else ()
    other = other or len(groups or indices) == 1
    if other and len(indices) == len(vocabulary):
        raise UsageError(
            f'"{text}" covers all {len(vocabulary)} labels: none is left for the class "{OTHER}"',
            hint="name fewer labels",
        )
    if len(groups) < len(indices) and groups:
        return Task(kind=TaskKind.GROUPED, indices=indices, groups=groups, other=other, text=text)
    return Task(indices=indices, other=other, text=text)


def _groups(terms: dict[str, set[int]], vocabulary: Vocabulary) -> tuple[Group, ...]:
    """One for each set of labels, named as it is first put. Raises UsageError where two of them overlap."""
    names: dict[tuple[int, ...], str] = {}
    of_label: dict[int, str] = {}
    for name, selected in terms.items():
        if (labels := tuple(sorted(selected))) in names:
            continue
        names[labels] = name
        for index in labels:
            if index in of_label:
                raise UsageError(
                    f'"{vocabulary.labels[index].name}" belongs to "{of_label[index]}" and to "{name}"',
                    hint="when each term is one output, two terms cannot share a label: remove or narrow one of them",
                )
            of_label[index] = name
    return tuple(Group(name=names[labels], indices=labels) for labels in sorted(names))


def canonical_text(indices: Iterable[int], vocabulary: Vocabulary, *, other: bool = False) -> str:
    """The text that names each label once, in index order: it parses to exactly these labels."""
    names = [quoted(vocabulary.labels[index].name) for index in sorted(set(indices))]
    return ", ".join([*names, OTHER] if other else names)


def quoted(word: str) -> str:
    """A name or a value as a task text must spell it."""
    plain = word.strip() == word and not re.search(r"[,&=#]|^@|\.txt$", word)
    return word if plain else f'"{word}"'


def _union(text: str, vocabulary: Vocabulary) -> _Union:
    if not text:
        raise UsageError("the task is empty", hint=_known(vocabulary))
    if text.count('"') % 2:
        raise UsageError(f"a quote is not closed in {text}", hint='close it with "')
    terms = {}
    other = False
    for term in _split(text, ","):
        if normal(term) == OTHER:
            other = True
        else:
            terms[_name(term)] = _intersection(term, vocabulary)
    return _Union(terms=terms, other=other)


def _name(term: str) -> str:
    """A term as an output is called: evenly spaced, and without quotes that it does not need, so that no two are called alike."""
    name = " ".join(term.split())
    bare = name.strip('"')
    return bare if name == f'"{bare}"' and quoted(bare) == bare else name


def _intersection(term: str, vocabulary: Vocabulary) -> set[int]:
    factors = [factor.strip() for factor in _split(term, "&")]
    selections = [_factor(factor, vocabulary) for factor in factors]
    common = set.intersection(*selections)
    if not common:
        counts = ", ".join(f'"{factor}" {len(selected)}' for factor, selected in zip(factors, selections, strict=True))
        raise UsageError(
            f'"{term.strip()}" selects no label',
            hint=f"on their own they select: {counts}; use a comma to join labels; & keeps only those that satisfy both",
        )
    return common


def _factor(factor: str, vocabulary: Vocabulary) -> set[int]:
    words = [_word(part) for part in _split(factor, "=")]
    if len(words) > 2:
        raise UsageError(f'"{factor}" holds more than one "="', hint="write key=value, and quote a value that holds =")
    return _named(words[0], vocabulary) if len(words) == 1 else _with_attribute(words[0], words[1], vocabulary)


def _named(name: str, vocabulary: Vocabulary) -> set[int]:
    if normal(name) == OTHER:
        raise UsageError(
            f'"{OTHER}" is a term of its own, as in "stop, {OTHER}"',
            hint=f'separate "{OTHER}" with commas, not with & or quotes',
        )
    label = vocabulary.by_name(name)
    selected = {label.index} if label else {*vocabulary.by_synonym(name), *vocabulary.by_ancestor(name)}
    if not selected:
        raise UsageError(f'unknown label "{name}"', hint=_nearest(name, vocabulary))
    return selected


def _nearest(name: str, vocabulary: Vocabulary) -> str:
    keys = [key for key, values in vocabulary.attributes.items() if normal(name) in map(normal, values)]
    if keys:
        return "did you mean " + " or ".join(f"{key}={quoted(name)}" for key in keys) + "?"
    if name.endswith(".txt"):
        return "there is no such file either"
    return did_you_mean(normal(name), [*_names(vocabulary), *vocabulary.synonyms, *vocabulary.ancestors])


def _with_attribute(key: str, value: str, vocabulary: Vocabulary) -> set[int]:
    selected = set(vocabulary.by_attribute(key, value))
    if selected:
        return selected
    if not vocabulary.attributes:
        raise UsageError(f'unknown attribute "{key}": the labels have none', hint=_known(vocabulary))
    values = next((values for known, values in vocabulary.attributes.items() if normal(known) == normal(key)), None)
    if values is None:
        raise UsageError(f'unknown attribute "{key}"', hint=did_you_mean(normal(key), vocabulary.attributes))
    raise UsageError(f'no label has {key}="{value}"', hint=did_you_mean(normal(value), values))


def _known(vocabulary: Vocabulary) -> str:
    return did_you_mean("", _names(vocabulary))


def _names(vocabulary: Vocabulary) -> list[str]:
    return [label.name for label in vocabulary.labels]


def _split(text: str, separator: str) -> list[str]:
    parts = [""]
    for piece in _QUOTED_OR_CHARACTER.findall(text):
        if piece == separator:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _word(part: str) -> str:
    word = part.strip()
    if '"' in word:
        if not re.fullmatch(r'"[^"]*"', word):
            raise UsageError(
                f"a quote stands inside the name {word}", hint="put quotes around the whole name, or leave them out"
            )
        word = word[1:-1]
    if not word.strip():
        raise UsageError(
            "a name is missing beside a comma, & or =", hint="write it like this: stop, kind=danger & shape=triangle"
        )
    return word


def _is_file(text: str) -> bool:
    if text.startswith("@"):
        return True
    try:
        return text.endswith(".txt") and Path(text).is_file()
    except OSError:  # too long for a path: then it is no file
        return False


def _read_file(text: str, vocabulary: Vocabulary) -> _Union:
    path = text.removeprefix("@")
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(
            f"cannot read {path}: {reason}", hint="give a text file with one term on each line"
        ) from error
    terms: dict[str, set[int]] = {}
    other = False
    for number, line in enumerate(lines, start=1):
        selector = _QUOTED_OR_COMMENT.sub(lambda match: match[1] or "", line).strip()
        if not selector:
            continue
        try:
            union = _union(selector, vocabulary)
        except UsageError as error:
            raise BadInputError(f"{path}, line {number}: {error.message}", hint=error.hint) from error
        terms |= union.terms
        other = other or union.other
    return _Union(terms=terms, other=other)
