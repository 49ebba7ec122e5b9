"""`edgekit init` writes what `edgekit build` reads, and the command line has the last word."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from edgekit_command import assert_fails, edgekit

from edgekit.cli.build import build
from edgekit.cli.init import init
from edgekit.cli.main import main
from edgekit.core.errors import ExitCode
from edgekit.pipeline.build_config import BUDGET_KEYS, KEYS

FILE = """
task = "stop, yield"
presence = true
target = "rpi5"
seed = 3
output = "out"
[budget]
latency_ms = 2
macs = "25%"
"""


@pytest.fixture
def plan_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The plan that `edgekit build` prints in a folder with this edgekit.toml, and what it says on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *arguments: str) -> tuple[dict[str, Any], str]:
        Path("edgekit.toml").write_text(text)
        assert main(["build", "--dry-run", "--json", *arguments]) == ExitCode.OK
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return run


def test_a_file_in_the_folder_is_read_and_said(plan_with: Any) -> None:
    planned, said = plan_with(FILE)
    assert planned["task"]["text"] == "stop, yield"
    assert planned["task"]["kind"] == "presence"
    assert planned["target"] == "rpi5:tflite-int8"
    assert planned["seed"] == 3
    assert planned["budget"] == {"latency_ms": 2.0, "macs": "25%"}
    (line,) = said.splitlines()
    assert line.startswith("from edgekit.toml: ")
    said_keys = line.removeprefix("from edgekit.toml: ").split(", ")
    assert {*said_keys} == {"task", "presence", "target", "seed", "output", "latency_ms", "macs"}


@pytest.mark.parametrize(
    ("arguments", "of_plan", "expected", "unsaid"),
    [
        (("--task", "no entry, stop"), lambda planned: planned["task"]["text"], "no entry, stop", {"task"}),
        (("--no-presence",), lambda planned: planned["task"]["kind"], "classify", {"presence"}),
        (("--target", "rpi4"), lambda planned: planned["target"], "rpi4:tflite-int8", {"target"}),
        (("--seed", "0"), lambda planned: planned["seed"], 0, {"seed"}),
        (("--macs", "50%"), lambda planned: planned["budget"], {"latency_ms": 2.0, "macs": "50%"}, {"macs"}),
        (("--latency-ms", "1"), lambda planned: planned["budget"], {"latency_ms": 1.0, "macs": "25%"}, {"latency_ms"}),
        (("--variants", "1,2ms"), lambda planned: planned["budget"], {"macs": "25%"}, {"latency_ms"}),
        (
            ("--genotype", "00.0f.00.03.7f.03.03.1f"),
            lambda planned: planned["budget"],
            {},
            {"latency_ms", "macs"},
        ),
        (("-q",), lambda planned: planned["seed"], 3, None),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and isinstance(value[0], str) else "",
)
def test_the_command_line_overrides_key_by_key(
    plan_with: Any, arguments: tuple[str, ...], of_plan: Any, expected: object, unsaid: set[str] | None
) -> None:
    planned, said = plan_with(FILE, *arguments)
    assert of_plan(planned) == expected
    if unsaid is None:
        assert said == ""
    else:
        keys = {"task", "presence", "target", "seed", "output", "latency_ms", "macs"}
        assert {*said.strip().removeprefix("from edgekit.toml: ").split(", ")} == keys - unsaid


def test_an_option_of_the_file_gives_way_to_what_excludes_it(plan_with: Any, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (32, 32), (40 * number, ord(name), 7)).save(tmp_path / "mine" / name / f"{number}.png")
    planned, said = plan_with(FILE, "--examples", "mine")
    assert planned["task"]["outputs"] == ["a", "b"]
    assert "task" not in said
    planned, _ = plan_with('variants = "1,2ms"\ntask = "stop, yield"', "--early-exit", "0.9")
    assert (planned["early_exit"], "variants" in planned) == (0.9, False)


def test_a_named_file_is_read_in_place_of_the_folders(plan_with: Any, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "other.toml").write_text('task = "no entry, yield"\ndata = "pictures"\n')
    planned, said = plan_with(FILE, "--config", "deep/other.toml")
    assert planned["task"]["text"] == "no entry, yield"
    assert planned["calibration"] == "deep/pictures"
    assert planned["budget"] == {}
    assert said == "from deep/other.toml: task, data\n"
    planned, said = plan_with(FILE, "--config", "/dev/null", "--task", "stop, yield")
    assert (planned["budget"], said) == ({}, "")


def test_a_wrong_file_ends_the_command_with_its_page(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text('taks = "stop"\n')
    done = edgekit("build", "--dry-run", cwd=tmp_path)
    assert_fails(done, ExitCode.BAD_INPUT, 'edgekit.toml: unknown key "taks"', 'did you mean "task"?')
    (tmp_path / "edgekit.toml").write_text('task = "stopp, yield"\n')
    assert_fails(edgekit("build", "--dry-run", cwd=tmp_path), ExitCode.USAGE, 'did you mean "stop"')
    assert_fails(edgekit("build", "--config", "none.toml", cwd=tmp_path), ExitCode.BAD_INPUT, "none.toml", "init")
    assert edgekit("build", "--help", cwd=tmp_path).returncode == ExitCode.OK


def test_what_clients_learnt_reads_no_file(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text('taks = "stop"\n')
    done = edgekit("build", "--from", "course", "-o", "out", cwd=tmp_path)
    assert_fails(done, ExitCode.BAD_INPUT, "holds no finished course")
    done = edgekit("build", "--config", "/dev/null", "--from", "course", "-o", "out", cwd=tmp_path)
    assert_fails(done, ExitCode.USAGE, "--config")


def test_init_writes_a_file_that_builds_and_never_replaces_one(tmp_path: Path) -> None:
    done = edgekit("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["file", "edgekit.toml"]
    before = (tmp_path / "edgekit.toml").read_text()
    assert_fails(edgekit("init", "--target", "rpi5", cwd=tmp_path), ExitCode.USAGE, "exists", "--overwrite")
    assert (tmp_path / "edgekit.toml").read_text() == before
    planned = json.loads(edgekit("build", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert planned["target"] == "rpi4:tflite-int8"

    done = edgekit("init", "--overwrite", "--target", "rpi5", "--task", "kind=danger", "--json", cwd=tmp_path)
    record = json.loads(done.stdout)
    assert (record["file"], record["build"]) == ("edgekit.toml", "edgekit build")
    assert json.loads(edgekit("build", "--dry-run", "--json", cwd=tmp_path).stdout) == record["plan"]


def test_init_writes_down_the_options_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    limits = ("--latency-ms", "1", "--macs", "25%", "--min-accuracy", "0.9")
    options = ("--task", '"stop", yield', "--grouped", "--no-other", "--seed", "7")
    assert main(["init", "-o", "a/b.toml", *options, *limits, "--data", "pictures"]) == ExitCode.OK
    assert tomllib.loads(Path("a/b.toml").read_text()) == {
        "task": '"stop", yield',
        "grouped": True,
        "other": False,
        "target": "rpi4",
        "data": "../pictures",
        "output": "out",
        "seed": 7,
        "budget": {"latency_ms": 1.0, "macs": "25%", "min_accuracy": 0.9},
    }


def test_init_has_an_option_for_every_key_and_no_other() -> None:
    own = {"output", "overwrite", "as_json", "quiet", "verbose"}
    keys = {key.name for key in (*KEYS, *BUDGET_KEYS)} - own
    assert {option.name for option in init.params} == keys | own
    assert {option.name for option in build.params} >= keys


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "rpi6"), 'did you mean "rpi5"'),
        (("--task", "stopp, yield"), 'did you mean "stop"'),
        (("--model", "things200"), "--task"),
        (("--variants", "1,2ms", "--early-exit", "0.9"), "exclude each other"),
        (("--variants", "1,2ms", "--board", "local"), "one network"),
        (("--genotype", "00.0f.00.03.7f.03.03.1f", "--macs", "25%"), "limits"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_init_writes_nothing_that_no_build_would_take(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", *arguments]) == ExitCode.USAGE
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
