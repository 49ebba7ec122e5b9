"""edgekit.toml: what is read, what is refused in one sentence, and that file, documentation and code say the same."""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import fields
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import click
import pytest
import tomli_w
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import edgekit
from edgekit.cli.build import of_one_kind, plan_of
from edgekit.core.budget import Budget, Share
from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.pipeline.build_config import (
    BUDGET,
    BUDGET_KEYS,
    FLAG,
    KEYS,
    LIMIT,
    MINUTES,
    PROBABILITY,
    SEED,
    BuildConfig,
    Key,
    exclude,
    parse_build,
    read_build_config,
)
from edgekit.pipeline.build_template import template, toml_line, write_config

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BY_NAME = {key.name: key for key in (*KEYS, *BUDGET_KEYS)}
PI = '[boards.pi]\ntransport = "ssh"\nhost = "pi.local"\ndevice = "rpi4"\nworkspace = "/home/pi/edgekit"\n'
NEEDS = {"tuning_minutes": {"target": "rpi4:tvm", "board": "pi"}}

NUMBERS = st.floats(1e-6, 1e9)
VALUES = {
    FLAG: st.booleans(),
    SEED: st.integers(0, 2**32 - 1),
    MINUTES: NUMBERS,
    PROBABILITY: st.floats(0, 1, exclude_min=True, exclude_max=True),
    LIMIT: st.one_of(NUMBERS, st.integers(1, 100).map(lambda percent: f"{percent}%")),
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip() != "")


def parsed(text: str, folder: Path = Path()) -> BuildConfig:
    return parse_build(tomllib.loads(text), where="edgekit.toml", folder=folder)


def text_of(values: dict[str, Any]) -> str:
    limits = {key.name for key in BUDGET_KEYS}
    own = {name: value for name, value in values.items() if name not in limits}
    return tomli_w.dumps({**own, BUDGET: {name: value for name, value in values.items() if name in limits}})


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples of the keys speak of."""
    folder = tmp_path_factory.mktemp("surroundings")
    for one, shade in (("cat", 50), ("dog", 200)):
        (folder / "pictures" / one).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (32, 32), (shade, shade, 40 * number)).save(folder / "pictures" / one / f"{number}.png")
    (folder / "labelled" / "stop").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "labelled" / "stop" / "0.png")
    (folder / "edgekit").mkdir()
    (folder / "edgekit" / "boards.toml").write_text(PI)
    return folder


def test_keys_are_the_arguments_of_a_build() -> None:
    arguments = set(inspect.signature(edgekit.build).parameters) - {"overwrite", "progress", BUDGET}
    assert {key.name for key in KEYS} == arguments | {"variants", "early_exit"}
    assert [key.name for key in BUDGET_KEYS] == [one.name for one in fields(Budget)]


def test_the_documentation_lists_every_key_and_no_other() -> None:
    rows = re.findall(r"^\| `\w+` \| [^|]+ \| [^|]+ \| `.+` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [
        f"| `{key.name}` | {key.kind.expected} | {key.meaning} | `{toml_line(key.name, key.example).strip()}` |"
        for key in BY_NAME.values()
    ]


def test_the_documentation_lists_what_excludes_each_other() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("No build has both of")[2]
    listed = set()
    for one, others in re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE):
        for other in re.findall(r"`(\w+)`", others):
            listed |= {(one, other), (other, one)}
    assert listed == {pair for pair in permutations(BY_NAME, 2) if exclude(*pair)}


def test_the_written_file_has_every_key_once() -> None:
    names = re.findall(r"^#?(\w+) = ", template({}), re.MULTILINE)
    assert names == [key.name for key in (*KEYS, *BUDGET_KEYS)]
    for key in BY_NAME.values():
        assert f"# {key.meaning}\n#{toml_line(key.name, key.example)}" in template({})


@pytest.mark.parametrize("name", BY_NAME)
def test_every_line_of_the_written_file_leads_to_a_plan_once_uncommented(
    name: str, surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(surroundings))
    values = {"task": BY_NAME["task"].example, **NEEDS.get(name, {})}
    text = template({one: value for one, value in values.items() if not exclude(one, name)})
    commented = text.replace(f"\n#{name} = ", f"\n{name} = ")
    assert (commented != text) == (name not in values or exclude(name, "task"))
    inputs = parsed(commented, surroundings).inputs()
    assert name in inputs or getattr(inputs[BUDGET], name) is not None
    inputs.pop("output", None)
    assert plan_of(of_one_kind(inputs))


@pytest.mark.parametrize("pair", [pair for pair in combinations(BY_NAME, 2) if exclude(*pair)], ids="-".join)
def test_what_excludes_each_other_is_refused_by_the_file_and_by_a_build(
    pair: tuple[str, str], surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(surroundings))
    values = {name: BY_NAME[name].example for name in pair}
    with pytest.raises(BadInputError) as raised:
        parsed(text_of(values))
    assert {*pair} <= {*raised.value.message.replace(":", "").split()}

    if "examples" not in pair:
        values["task"] = BY_NAME["task"].example
    inputs = {name: parsed(text_of({name: value}), surroundings).inputs() for name, value in values.items()}
    limits = [one.pop(BUDGET) for one in inputs.values()]
    merged = {name: value for one in inputs.values() for name, value in one.items()}
    budget = {
        one.name: getattr(limit, one.name) for limit in limits for one in fields(limit) if getattr(limit, one.name)
    }
    with pytest.raises((UsageError, click.UsageError)):
        plan_of(of_one_kind({**merged, BUDGET: Budget(**budget)}))


@settings(deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_as_it_was_given(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(BY_NAME)), unique=True))
    assume(not any(exclude(*pair) for pair in permutations(names, 2)))
    values = {
        name: data.draw(VALUES.get(BY_NAME[name].kind, TEXTS.filter(lambda text: "/" not in text))) for name in names
    }
    assume(not isinstance(values.get("min_accuracy"), float) or values["min_accuracy"] <= 1)
    inputs = parsed(template(values)).inputs()
    budget = inputs.pop(BUDGET)
    for name, value in values.items():
        read = getattr(budget, name) if BY_NAME[name] in BUDGET_KEYS else inputs.pop(name)
        assert (str(read) if isinstance(read, Share) else read) == (value if name != "task" else read)
    assert inputs == {}


@settings(deadline=None)
@given(key=st.sampled_from(KEYS), data=st.data())
def test_a_misspelt_key_is_answered_with_the_nearest(key: Key, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(key.name) - 1))
    name = key.name[:at] + key.name[at + 1 :] if len(key.name) > 3 else key.name + key.name[-1]
    assume(name not in BY_NAME and name != BUDGET)
    with pytest.raises(BadInputError, match=f'^edgekit.toml: unknown key "{name}"$') as raised:
        parsed(f"{name} = 1")
    assert f'"{key.name}"' in raised.value.hint


def test_a_limit_outside_its_table_is_answered_with_its_place() -> None:
    with pytest.raises(BadInputError) as raised:
        parsed("latency_ms = 1.0")
    assert '"budget.latency_ms"' in raised.value.hint
    assert parsed("budget.latency_ms = 1").budget == Budget(latency_ms=1.0)


OTHERS = (True, 0, -1, 2**32, 1.5, float("nan"), float("inf"), "", " ", "1.0", "0%", "101%", [], [1], {"a": 1})


@pytest.mark.parametrize("key", BY_NAME.values(), ids=lambda key: key.name)
def test_a_value_of_another_kind_is_refused_with_what_was_expected(key: Key) -> None:
    refused = [value for value in OTHERS if not key.kind.fits(value)]
    assert {bool, list, dict} - {type(key.example)} <= {type(value) for value in refused}
    for value in refused:
        with pytest.raises(BadInputError, match=r"^edgekit\.toml") as raised:
            parsed(text_of({key.name: value}))
        assert f"{key.name} is " in raised.value.message
        assert raised.value.message.endswith(f"expected {key.kind.expected}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget = 3", "budget is 3, expected a table"),
        ("[budget]\nlatency_ms = -1", "latency_ms = -1 is not a limit"),
        ("[budget]\nmin_accuracy = 97", "min_accuracy = 97 is above 1"),
        ("[budget]\nlatency = 1", '[budget]: unknown key "latency"'),
        ("task = ", "is not TOML"),
        ("[build]\ntask = 'a'", 'unknown key "build"'),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(BadInputError) as raised:
        read_build_config(path)
    assert str(path) in raised.value.message
    assert words in raised.value.message
    assert raised.value.hint


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        read_build_config(tmp_path / "edgekit.toml")
    (tmp_path / "edgekit.toml").write_bytes(b"task = '\xff'")
    with pytest.raises(BadInputError, match="is not TOML"):
        read_build_config(tmp_path / "edgekit.toml")


def test_paths_start_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "signs.txt").write_text("stop\n")
    (tmp_path / "nets").symlink_to(data_folder("models"))
    text = 'task = "signs.txt"\ndata = "some/pictures"\noutput = "../out"\nmodel = "nets/signs43"\n'
    read = parsed(text, tmp_path)
    assert read.task == str(tmp_path / "signs.txt")
    assert read.data == str(tmp_path / "some" / "pictures")
    assert read.output == str(tmp_path / ".." / "out")
    assert read.model == str(tmp_path / "nets" / "signs43")
    elsewhere = parsed('task = "@labels"\nmodel = "signs43"\n', tmp_path)
    assert (elsewhere.task, elsewhere.model) == (f"@{tmp_path / 'labels'}", "signs43")
    assert parsed('output = "/absolute/out"', tmp_path).output == "/absolute/out"


def test_paths_of_the_current_folder_are_written_as_the_file_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("stop\nyield\n")
    (tmp_path / "mine").symlink_to(data_folder("models") / "signs43")
    path = tmp_path / "deep" / "edgekit.toml"
    given_ = {"task": "labels.txt", "model": "mine", "data": Path("pictures"), "macs": Share(fraction=0.25)}
    write_config(Path("deep/edgekit.toml"), given_)
    written = tomllib.loads(path.read_text())
    assert written == {
        "task": "../labels.txt",
        "model": "../mine",
        "data": "../pictures",
        "output": "out",
        "budget": {"macs": "25%"},
    }
    inputs = read_build_config(path).inputs()
    assert Path(inputs["output"]) == path.parent / "out"
    assert plan_of({name: value for name, value in inputs.items() if name != "output"})["calibration"] == str(
        tmp_path / "deep" / ".." / "pictures"
    )

    with pytest.raises(UsageError, match="exists"):
        write_config(path, {"task": "stop"})
    assert tomllib.loads(path.read_text()) == written
    write_config(path, {"task": "stop"}, overwrite=True)
    assert read_build_config(path).task == "stop"
