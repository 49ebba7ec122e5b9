import copy
import csv
import json
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import BadInputError
from edgekit.tasks.vocabulary import Label, Vocabulary

REPO_ROOT = Path(__file__).resolve().parents[2]
IMAGES = REPO_ROOT.parent / "shared" / "data" / "images"
SIGNS = Vocabulary.load(REPO_ROOT / "models" / "signs43" / "vocabulary.json")
ANIMALS = Vocabulary(
    (
        Label(name="German shepherd", index=0, ancestors=("dog", "mammal", "animal"), synonyms=("alsatian",)),
        Label(name="tabby", index=1, ancestors=("cat", "mammal", "animal"), synonyms=("tabby cat",)),
        Label(name="soft-finned fish", index=2, attributes={"habitat": "sea"}, ancestors=("fish", "animal")),
    )
)


@pytest.mark.parametrize("spelling", ["German shepherd", "german_shepherd", "GERMAN-SHEPHERD", "  german \t shepherd "])
def test_a_name_is_found_however_it_is_spelled(spelling: str) -> None:
    assert ANIMALS.by_name(spelling) == ANIMALS.labels[0]


def test_groups_of_labels_are_found_by_ancestor_synonym_and_attribute() -> None:
    assert ANIMALS.by_ancestor("Mammal") == (0, 1)
    assert ANIMALS.by_ancestor("reptile") == ()
    assert ANIMALS.by_synonym("Tabby-Cat") == (1,)
    assert ANIMALS.by_name("tabby cat") is None
    assert ANIMALS.by_attribute("Habitat", "SEA") == (2,)
    assert ANIMALS.by_attribute("habitat", "air") == ()
    assert ANIMALS.ancestors == ("dog", "mammal", "animal", "cat", "fish")
    assert ANIMALS.attributes == {"habitat": ("sea",)}


def test_a_label_cannot_be_changed_and_can_be_copied() -> None:
    label = SIGNS.labels[14]
    with pytest.raises(TypeError):
        label.attributes["shape"] = "circle"  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        label.name = "go"  # type: ignore[misc]
    assert copy.deepcopy(SIGNS) == SIGNS
    assert pickle.loads(pickle.dumps(SIGNS)) == SIGNS  # noqa: S301
    assert len({label, copy.deepcopy(label)}) == 1


words = st.text(alphabet="abc XYZ.,&=#@-'ß3", min_size=1).filter(lambda word: word.replace("-", " ").strip() != "")


@settings(deadline=None)
@given(
    names=st.lists(
        words, min_size=1, max_size=5, unique_by=lambda word: " ".join(word.casefold().replace("-", " ").split())
    ),
    attributes=st.dictionaries(words, words, max_size=3),
    ancestors=st.lists(words, max_size=3),
)
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], attributes: dict[str, str], ancestors: list[str]
) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.json"
    vocabulary = Vocabulary(
        tuple(
            Label(
                name=name, index=index, attributes=attributes, ancestors=tuple(ancestors), synonyms=tuple(ancestors[:1])
            )
            for index, name in enumerate(names)
        )
    )
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"schema_version": 2, "labels": [{"name": "a"}]}, "schema version 2, expected 1"),
        ({"schema_version": 1}, '"labels" is not a list'),
        ({"schema_version": 1, "labels": []}, "no labels"),
        ({"schema_version": 1, "labels": ["stop"]}, "label 0 has no name"),
        ({"schema_version": 1, "labels": [{"name": 7}]}, "label 0 has no name"),
        ({"schema_version": 1, "labels": [{"name": "a", "colour": "red"}]}, 'unknown field "colour"'),
        ({"schema_version": 1, "labels": [{"name": "a", "attributes": ["red"]}]}, '"attributes" must be an object'),
        ({"schema_version": 1, "labels": [{"name": "a", "attributes": {"n": 1}}]}, '"attributes" must be an object'),
        ({"schema_version": 1, "labels": [{"name": "a", "ancestors": "dog"}]}, '"ancestors" must be a list'),
        ({"schema_version": 1, "labels": [{"name": "a", "synonyms": [None]}]}, '"synonyms" must be a list'),
        ({"schema_version": 1, "labels": [{"name": "sea-slug"}, {"name": "Sea slug"}]}, "have the same name"),
        ({"schema_version": 1, "labels": [{"name": " - "}]}, "empty name"),
        ({"schema_version": 1, "labels": [{"name": 'a "b"'}]}, "holds the name"),
        ({"schema_version": 1, "labels": [{"name": "a", "attributes": {"k": "b\n"}}]}, "holds the name"),
        ({"schema_version": 1, "labels": [{"name": "Other"}]}, "leaves out"),
        ({"schema_version": 1, "labels": [{"name": "a", "ancestors": ["other"]}]}, "leaves out"),
    ],
)
def test_a_broken_file_is_refused_by_its_name(tmp_path: Path, record: object, message: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(record))
    with pytest.raises(BadInputError, match=message) as caught:
        Vocabulary.load(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": 1, "labels": [{"name": "a"}']
)
def test_a_missing_or_truncated_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "vocabulary.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError):
        Vocabulary.load(path)


def test_indices_count_from_zero() -> None:
    with pytest.raises(BadInputError, match="index 1 at position 0"):
        Vocabulary((Label(name="a", index=1),))


def test_the_shipped_vocabulary_agrees_with_its_dataset() -> None:
    table = IMAGES / "signs43" / "classes.tsv"
    if not table.exists():
        pytest.skip(f"{table} is not here")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(label.index, label.name, dict(label.attributes)) for label in SIGNS.labels] == [
        (int(row["label"]), row["name"], {key: row[key] for key in ("shape", "colour", "kind")}) for row in rows
    ]
