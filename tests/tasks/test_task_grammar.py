import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import BadInputError, UsageError
from edgekit.tasks.grammar import canonical_text, parse_task, quoted
from edgekit.tasks.task import Task, TaskKind
from edgekit.tasks.vocabulary import Label, Vocabulary

REPO_ROOT = Path(__file__).resolve().parents[2]
SIGNS = Vocabulary.load(REPO_ROOT / "models" / "signs43" / "vocabulary.json")
AWKWARD = Vocabulary(
    tuple(
        Label(name=name, index=index, ancestors=("thing", "B&B"), attributes={"a=b": f"{index % 2}, or so"})
        for index, name in enumerate(["mac & cheese", "x=y", "@home", "list.txt", "salt, pepper", "C #5", "plain"])
    )
)
ANIMALS = Vocabulary(
    (
        Label(name="dog", index=0, ancestors=("animal",)),
        Label(name="poodle", index=1, ancestors=("dog", "animal"), synonyms=("curly one",)),
        Label(name="sheep", index=2, ancestors=("animal",), synonyms=("curly one",)),
        Label(name="oak", index=3, ancestors=("tree",), attributes={"leaf": "lobed"}),
    )
)


def names(task: Task, vocabulary: Vocabulary = SIGNS) -> set[str]:
    return {vocabulary.labels[index].name for index in task.indices}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stop, yield", {"stop", "yield"}),
        ("Stop,YIELD", {"stop", "yield"}),
        ("no_vehicles_over_3.5_t, no vehicles", {"no vehicles over 3.5 t", "no vehicles"}),
        (
            "kind=derestriction & shape=circle & colour=grey",
            {label.name for label in SIGNS.labels if "end of" in label.name},
        ),
        ('kind="priority"', {"right of way at next intersection", "priority road", "yield", "stop"}),
        (
            "kind = priority & colour = red, roundabout",
            {"right of way at next intersection", "yield", "stop", "roundabout"},
        ),
        ("KIND=Speed-Limit, stop", {f"speed limit {n}" for n in (20, 30, 50, 60, 70, 80, 100, 120)} | {"stop"}),
        ('"stop" , "no entry"', {"stop", "no entry"}),
    ],
)
def test_texts_select_labels(text: str, expected: set[str]) -> None:
    task = parse_task(text, SIGNS)
    assert names(task) == expected
    assert task.kind is TaskKind.CLASSIFY
    assert not task.other
    assert task.text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("animal", {"dog", "poodle", "sheep"}),
        ("curly one", {"poodle", "sheep"}),
        ("dog", {"dog"}),
        ("animal & curly one, tree", {"poodle", "sheep", "oak"}),
    ],
)
def test_a_name_means_its_label_before_a_synonym_or_an_ancestor(text: str, expected: set[str]) -> None:
    assert names(parse_task(text, ANIMALS, presence=expected != {"dog", "poodle", "sheep"}), ANIMALS) == expected


def test_other_is_asked_for_by_term_by_option_and_by_a_single_label() -> None:
    by_term = parse_task("stop, Other, yield", SIGNS)
    assert by_term.outputs(SIGNS) == ("yield", "stop", "other")
    assert parse_task("stop, yield", SIGNS, other=True) == by_term
    assert parse_task("stop", SIGNS).outputs(SIGNS) == ("stop", "other")
    assert parse_task("stop, stop", SIGNS) == parse_task("stop, other", SIGNS)


def test_presence_asks_whether_any_label_is_there() -> None:
    task = parse_task("kind=danger", SIGNS, presence=True)
    assert task.kind is TaskKind.PRESENCE
    assert len(task.indices) == 14
    assert task.outputs(SIGNS) == ("present", "absent")


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("kind=priority, kind=danger", ("kind=priority", "kind=danger")),
        (' kind=danger   & colour=red,"stop", OTHER', ("stop", "kind=danger & colour=red", "other")),
        ("kind=danger", ("kind=danger", "other")),
        ("shape=octagon, kind=danger, stop", ("shape=octagon", "kind=danger")),
        ("stop, yield, stop", ("yield", "stop")),
    ],
)
def test_each_term_can_be_one_output(text: str, outputs: tuple[str, ...]) -> None:
    task, apart = parse_task(text, SIGNS, grouped=True), parse_task(text, SIGNS)
    assert task.outputs(SIGNS) == outputs
    assert task.indices == apart.indices
    assert (task == apart) == (len(task.indices) + task.other == len(outputs))


@pytest.mark.parametrize("grouped", [True, False])
def test_a_quoted_name_is_no_intersection(grouped: bool) -> None:
    labels = Label(name="a & b", index=0), Label(name="c", index=1, ancestors=("a", "b")), Label(name="d", index=2)
    task = parse_task('"a & b", a & b', Vocabulary(labels), grouped=grouped)
    assert task.indices == (0, 1)
    assert task.outputs(Vocabulary(labels)) == ("a & b", "c")


def test_terms_of_a_file_are_outputs_too(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("kind=danger # beware\nstop, other\n")
    expected = parse_task("kind=danger, stop, other", SIGNS, grouped=True)
    assert parse_task(f"@{file}", SIGNS, grouped=True) == expected


EVERYTHING = "shape=circle, shape=triangle, shape=diamond, shape=inverted triangle, shape=octagon"


def test_all_labels_can_be_told_apart_but_nothing_is_left_out() -> None:
    assert len(parse_task(EVERYTHING, SIGNS).indices) == 43


@pytest.mark.parametrize(
    ("text", "options", "message", "hint"),
    [
        ("stopp", {}, 'unknown label "stopp"', 'did you mean "stop"'),
        ("speed limit 3O", {}, "unknown label", '"speed limit 30"'),
        ("danger", {}, 'unknown label "danger"', "did you mean kind=danger?"),
        ("xyzzy", {}, "unknown label", "known:"),
        ("colur=red", {}, 'unknown attribute "colur"', 'did you mean "colour"'),
        ("colour=rad", {}, 'no label has colour="rad"', 'did you mean "red"'),
        ("kind=danger & shape=circle", {}, '"kind=danger & shape=circle" selects no label', '"shape=circle" 25'),
        ("stop & yield", {}, "selects no label", "comma to join"),
        ("", {}, "the task is empty", "known:"),
        ("  \n", {}, "the task is empty", "known:"),
        ("stop,,yield", {}, "a name is missing", "stop"),
        ("stop,", {}, "a name is missing", "stop"),
        ("kind=", {}, "a name is missing", "stop"),
        ('""', {}, "a name is missing", "stop"),
        ("a=b=c", {}, 'more than one "="', "quote"),
        ('"stop', {}, "not closed", "close"),
        ('st"o"p', {}, "inside the name", "quotes"),
        ("other", {}, "names no label", "known:"),
        ("stop & other", {}, "a term of its own", "commas"),
        ("stop, other", {"presence": True}, "no class", "absent"),
        ("stop", {"presence": True, "other": True}, "no class", "absent"),
        ("stop", {"presence": True, "grouped": True}, "one group", "not for both"),
        (
            "kind=danger, colour=red",
            {"grouped": True},
            '"general caution" belongs to "kind=danger" and to "colour=red"',
            "narrow",
        ),
        (EVERYTHING, {"grouped": True, "other": True}, "covers all 43 labels", "fewer"),
        (EVERYTHING, {"presence": True}, "covers all 43 labels", "fewer"),
        (EVERYTHING, {"other": True}, "covers all 43 labels", "fewer"),
        ("missing.txt", {}, 'unknown label "missing.txt"', "no such file"),
    ],
)
def test_errors_say_what_to_do(text: str, options: dict[str, bool], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_task(text, SIGNS, **options)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_attribute_of_a_vocabulary_without_any_is_unknown() -> None:
    with pytest.raises(UsageError, match="the labels have none"):
        parse_task("kind=dog", Vocabulary((Label(name="dog", index=0), Label(name="cat", index=1))))


PAIRS = [(key, value) for key, values in SIGNS.attributes.items() for value in values]
factors = st.one_of(st.sampled_from([label.name for label in SIGNS.labels]), st.sampled_from(PAIRS))
expressions = st.lists(st.lists(factors, min_size=1, max_size=3), min_size=1, max_size=4)
spellings = st.sampled_from([str.upper, str.title, lambda word: word.replace(" ", "_"), lambda word: f'  "{word}" '])


def spell(expression: list[list[str | tuple[str, str]]], change=str) -> str:  # type: ignore[no-untyped-def]
    def factor(item: str | tuple[str, str]) -> str:
        return change(item) if isinstance(item, str) else f"{item[0]}={change(item[1])}"

    return ", ".join(" & ".join(map(factor, term)) for term in expression)


def evaluate(expression: list[list[str | tuple[str, str]]]) -> set[int] | None:
    """What the expression selects by definition; None where one of its terms selects nothing."""
    union: set[int] = set()
    for term in expression:
        selected = [
            label.index
            for label in SIGNS.labels
            if all(
                label.name == item if isinstance(item, str) else label.attributes[item[0]] == item[1] for item in term
            )
        ]
        if not selected:
            return None
        union.update(selected)
    return union


@given(expression=expressions, change=spellings, data=st.data())
def test_a_text_means_its_definition_in_any_order_and_spelling(expression, change, data) -> None:  # type: ignore[no-untyped-def]
    expected = evaluate(expression)
    if expected is None:
        with pytest.raises(UsageError, match="selects no label"):
            parse_task(spell(expression), SIGNS)
        return
    task = parse_task(spell(expression), SIGNS)
    assert set(task.indices) == expected
    shuffled = [data.draw(st.permutations(term)) for term in data.draw(st.permutations(expression + expression[:1]))]
    assert parse_task(spell(shuffled, change), SIGNS) == task


@given(data=st.data(), vocabulary=st.sampled_from([SIGNS, AWKWARD]), presence=st.booleans(), other=st.booleans())
def test_the_canonical_text_of_a_task_describes_it(data, vocabulary, presence, other) -> None:  # type: ignore[no-untyped-def]
    n = len(vocabulary)
    indices = data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n - 1))
    other = not presence and (other or len(indices) == 1)
    kind = TaskKind.PRESENCE if presence else TaskKind.CLASSIFY
    text = canonical_text(indices, vocabulary, other=other)
    parsed = parse_task(text, vocabulary, presence=presence)
    assert parsed == Task(kind=kind, indices=tuple(sorted(indices)), other=other, text=text)


def test_names_with_reserved_characters_can_be_quoted() -> None:
    text = f"{quoted('B&B')} & {quoted('a=b')}={quoted('1, or so')}"
    assert names(parse_task(text, AWKWARD), AWKWARD) == {"x=y", "list.txt", "C #5"}


pieces = st.sampled_from(
    ["stop", "kind", "danger", "other", "=", "&", ",", '"', " ", "@", ".txt", "#", "\n", "\0", "ß"]
)


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(st.text(), st.lists(pieces).map("".join), st.text(alphabet="@.tx/\0", max_size=6)),
    presence=st.booleans(),
    grouped=st.booleans(),
    other=st.booleans(),
)
def test_any_text_is_a_task_or_an_error_of_the_user(text: str, presence: bool, grouped: bool, other: bool) -> None:
    try:
        task = parse_task(text, SIGNS, presence=presence, grouped=grouped, other=other)
    except (UsageError, BadInputError) as error:
        refusal = error
    else:
        assert parse_task(task.text, SIGNS, presence=presence, grouped=grouped, other=other) == task
        return
    assert refusal.message
    assert refusal.hint
    assert isinstance(refusal, UsageError) or text.strip().startswith("@")


def test_a_very_long_text_is_no_file_name() -> None:
    with pytest.raises(UsageError):
        parse_task("x" * 100_000 + ".txt", SIGNS)


LABELS_TXT = """\
# what the crossing needs
stop
yield   # with a comment

colour=blue & kind=mandatory
other
"""


@pytest.mark.parametrize(("name", "prefix"), [("labels.txt", ""), ("labels.txt", "@"), ("wanted", "@")])
def test_a_file_lists_one_selector_a_line(tmp_path: Path, name: str, prefix: str) -> None:
    path = tmp_path / name
    path.write_text(LABELS_TXT)
    task = parse_task(f"{prefix}{path}", SIGNS)
    assert task == parse_task("stop, yield, colour=blue & kind=mandatory, other", SIGNS)
    assert task.text == f"{prefix}{path}"


def test_a_file_may_come_from_another_editor(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfstop\r\nyield\r\n")
    assert names(parse_task(str(path), SIGNS)) == {"stop", "yield"}


def test_a_quoted_hash_is_no_comment(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text('"C #5" # the note\nplain\n')
    assert names(parse_task(str(path), AWKWARD), AWKWARD) == {"C #5", "plain"}


def test_canonical_names_can_be_listed_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(canonical_text([index], AWKWARD) for index in range(len(AWKWARD))))
    assert parse_task(str(path), AWKWARD).indices == tuple(range(len(AWKWARD)))


def test_an_error_in_a_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("stop\n\nyeild\n")
    with pytest.raises(BadInputError) as caught:
        parse_task(str(path), SIGNS)
    assert caught.value.message == f'{path}, line 3: unknown label "yeild"'
    assert '"yield"' in caught.value.hint


def test_a_file_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "binary.txt", tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInputError, match="cannot read"):
            parse_task(f"@{path}", SIGNS)


def test_a_file_without_selectors_is_an_empty_task(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("# nothing yet\n")
    with pytest.raises(UsageError, match="names no label"):
        parse_task(str(path), SIGNS)


def test_a_vocabulary_of_wordnet_names_can_be_asked() -> None:
    table = REPO_ROOT.parent / "shared" / "data" / "images" / "things200" / "classes.tsv"
    if not table.exists():
        pytest.skip(f"{table} is not here")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    words = [row["name"].split(", ") for row in rows]
    ancestors = [tuple(row["ancestors"].split(" > ")) for row in rows]
    things = Vocabulary(
        tuple(
            Label(name=name, index=index, synonyms=tuple(synonyms), ancestors=ancestors[index])
            for index, (name, *synonyms) in enumerate(words)
        )
    )
    for index, row in enumerate(rows):
        assert index in parse_task(row["name"], things).indices
    dogs = {index for index, line in enumerate(ancestors) if "dog" in line}
    assert set(parse_task("dog", things).indices) == dogs
    assert set(parse_task("Dog & carnivore, goldfish", things).indices) == dogs | {0}
