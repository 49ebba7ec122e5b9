"""`fleet.toml` as people write it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError
from edgekit.pipeline.fleet.fleet_file import parse_fleet, read_fleet
from edgekit.pipeline.fleet.member import Member, arguments_of, job_of

WHOLE = """
model = "things200"
seed = 3
targets = ["rpi4", "rpi4:onnx-fp32"]
exclude = ["parts-*-tight"]

[tasks]
pets = "dog, cat"
parts = { examples = "pictures/parts", data = "pictures/calibration", model = "signs43" }
danger = { task = "kind=danger", presence = true, model = "signs43" }

[budgets]
tight = { latency_ms = 1, macs = "25%" }
loose = { min_accuracy = "95%" }
"""


def members_of(text: str, folder: Path) -> dict[str, Member]:
    (folder / "fleet.toml").write_text(text)
    return {member.name: member for member in read_fleet(folder / "fleet.toml")}


def test_every_task_for_every_target_within_every_budget(tmp_path: Path) -> None:
    members = members_of(WHOLE, tmp_path)
    assert list(members) == [
        *("pets-rpi4-tight", "pets-rpi4-loose", "pets-rpi4-onnx-fp32-tight", "pets-rpi4-onnx-fp32-loose"),
        *("parts-rpi4-loose", "parts-rpi4-onnx-fp32-loose"),
        *("danger-rpi4-tight", "danger-rpi4-loose", "danger-rpi4-onnx-fp32-tight", "danger-rpi4-onnx-fp32-loose"),
    ]
    assert members["pets-rpi4-tight"].arguments == {
        "task": "dog, cat",
        "target": "rpi4",
        "model": "things200",
        "seed": 3,
        "budget": Budget(latency_ms=1, macs=Share(fraction=0.25)),
    }
    assert members["danger-rpi4-onnx-fp32-loose"].arguments == {
        "task": "kind=danger",
        "presence": True,
        "target": "rpi4:onnx-fp32",
        "model": "signs43",
        "seed": 3,
        "budget": Budget(min_accuracy=Share(fraction=0.95)),
    }


def test_folders_are_named_as_seen_from_the_file(tmp_path: Path) -> None:
    inputs = members_of(WHOLE, tmp_path)["parts-rpi4-loose"].inputs
    assert inputs["examples"] == str(tmp_path / "pictures" / "parts")
    assert inputs["data"] == str(tmp_path / "pictures" / "calibration")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.json").write_text("{}")
    (tmp_path / "labels.txt").write_text("stop\nyield\n")
    text = 'targets = ["rpi4"]\nmodel = "mine"\n[tasks]\na = "labels.txt"\nb = "stop"\n'
    members = members_of(text, tmp_path)
    assert members["a-rpi4"].inputs == {"model": str(tmp_path / "mine"), "task": str(tmp_path / "labels.txt")}
    assert members["b-rpi4"].inputs["task"] == "stop"


def test_without_budgets_nothing_is_limited(tmp_path: Path) -> None:
    (member,) = members_of('targets = ["rpi4"]\n[tasks]\na = "stop"\n', tmp_path).values()
    assert (member.name, member.budget) == ("a-rpi4", Budget())


BASE = 'targets = ["rpi4"]\n[tasks]\na = "stop"\n'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('modle = "signs43"\n' + BASE, 'unknown key "modle"', 'did you mean "model"?'),
        (BASE + 'b = { task = "stop", presense = true }', 'tasks.b: unknown key "presense"', '"presence"'),
        (BASE + "[budgets]\nx = { latency = 1 }", 'budgets.x: unknown key "latency"', '"latency_ms"'),
        (
            BASE + 'b = { task = "stop", presence = "yes" }',
            'presence is "yes", expected true or false',
            "docs/fleet.md",
        ),
        ("seed = true\n" + BASE, "seed is true, expected a whole number", "docs/fleet.md"),
        (BASE + 'b = { task = "stop", examples = "x" }', "tasks.b needs one of task and examples", ""),
        (BASE + "b = {}", "tasks.b needs one of task and examples", ""),
        (BASE + "b = 3", "tasks.b is neither a text nor a table", ""),
        (BASE + "[budgets]\nx = { latency_ms = -1 }", "budgets.x: latency_ms = -1 is not a limit", "positive"),
        (BASE + '[budgets]\nx = { macs = "many" }', 'budgets.x: macs is "many", expected a number', "docs/fleet.md"),
        (BASE + '"../b" = "stop"', '"../b" in tasks names no folder', "letters"),
        ('targets = ["rpi4", "rpi4"]\n[tasks]\na = "stop"', 'two members would be called "a-rpi4"', "once"),
        ("[tasks]\na = 'stop'", "names no targets", ""),
        ('targets = ["rpi4"]', "names no tasks", ""),
        ("targets = [4]\n[tasks]\na = 'stop'", "targets is [4], expected a list of texts", ""),
        ('exclude = ["a-rpi5"]\n' + BASE, 'no member is called "a-rpi5"', '"a-rpi4"'),
        ("targets = [", "is not TOML", ""),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as refused:
        members_of(text, tmp_path)
    assert str(tmp_path / "fleet.toml") in refused.value.message
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        read_fleet(tmp_path / "fleet.toml")


NAMES = st.from_regex(r"[a-c][a-c-]{0,2}", fullmatch=True)


@given(tasks=st.sets(NAMES, min_size=1), budgets=st.sets(NAMES), targets=st.sets(NAMES, min_size=1))
def test_no_two_members_share_a_folder(tasks: set[str], budgets: set[str], targets: set[str]) -> None:
    record = {
        "tasks": dict.fromkeys(tasks, "stop"),
        "budgets": {name: {} for name in budgets},
        "targets": sorted(targets),
    }
    try:
        members = parse_fleet(record, where="fleet.toml", folder=Path())
    except BadInputError as error:
        assert "two members would be called" in error.message  # noqa: PT017 (either outcome is right)
    else:
        assert (
            len({member.name for member in members}) == len(members) == len(tasks) * len(targets) * (len(budgets) or 1)
        )


LIMITS = st.none() | st.floats(1e-6, 1e9) | st.floats(1e-9, 1.0).map(lambda share: Share(fraction=share))


@given(budget=st.builds(Budget, latency_ms=LIMITS, macs=LIMITS), seed=st.integers(0, 9))
def test_a_worker_gets_what_was_asked_for(budget: Budget, seed: int) -> None:
    """To the last bit of a share."""
    member = Member(
        name="a", task_name="a", target="rpi4", budget_name="", budget=budget, inputs={"task": "stop", "seed": seed}
    )
    assert arguments_of(job_of(member, Path("out"))) == {**member.arguments, "output": "out"}
