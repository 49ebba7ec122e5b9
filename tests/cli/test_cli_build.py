"""From the command line to a build folder and its predictions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from edgekit_command import assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode


def test_a_build_prints_its_figures_each_with_its_evidence(built):
    figures = {figure["name"]: figure for figure in built["figures"]}
    latency = figures["latency"]
    assert latency["evidence"] == "predicted"
    assert latency["interval"][0] <= latency["value"] <= min(latency["interval"][1], 1.0)
    assert "rpi4" in latency["source"]
    assert figures["size"]["value"] == (Path(built["folder"]) / "model.tflite").stat().st_size
    assert json.loads((Path(built["folder"]) / "report.json").read_text())["figures"] == built["figures"]


def test_the_built_file_recognises_pictures(built, stripes):
    asked = {name: path for name, path in stripes.items() if name in built["labels"]}
    answers = edgekit_json("predict", built["folder"], *asked.values())["predictions"]
    assert {answer["file"]: answer["label"] for answer in answers} == {str(path): name for name, path in asked.items()}
    assert all(0.5 < answer["probability"] <= 1 and answer["ms"] > 0 for answer in answers)

    plain = edgekit("predict", built["folder"], *asked.values()).stdout
    assert [line.split()[-1] for line in plain.splitlines()[1:]] == [str(path) for path in asked.values()]


def test_a_finished_build_is_verified_and_a_changed_one_is_not(built, tmp_path):
    checks = edgekit_json("verify", built["folder"])["checks"]
    assert {check["name"] for check in checks} >= {"files", "labels", "outputs"}

    changed = shutil.copytree(built["folder"], tmp_path / "out")
    (changed / "labels.txt").write_text("something else\n")
    assert_fails(edgekit("verify", changed), ExitCode.VERIFICATION, "labels.txt")


def test_results_go_to_stdout_as_a_plain_table_and_progress_to_stderr(tiny_supernet, tmp_path):
    out = tmp_path / "out"
    arguments = ("build", "--model", tiny_supernet, "--task", "colour=red", "--macs", "50%", "--presence", "-o", out)
    done = edgekit(*arguments)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[0].split() == ["figure", "value", "interval", "evidence", "source"]
    assert "present, absent" in done.stdout
    stages = [line.split()[0] for line in done.stderr.splitlines()]
    assert stages[-8:] == ["plan", "load", "assemble", "slice", "export", "verify", "profile", "report"]

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert_fails(edgekit(*arguments), ExitCode.USAGE, "--overwrite")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_dry_run_prints_the_plan_and_writes_nothing(tiny_supernet, tmp_path):
    arguments = ("build", "--model", tiny_supernet, "--task", "pattern=rows", "--size-bytes", "25%", "--dry-run")
    planned = edgekit_json(*arguments, "-o", tmp_path / "out")
    assert planned["task"]["outputs"] == ["red rows", "green rows", "blue rows"]
    assert planned["budget"] == {"size_bytes": "25%"}
    assert "red rows, green rows, blue rows" in edgekit(*arguments).stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "red row"), ('unknown label "red row"', 'did you mean "red rows"')),
        (("--task", "colour=rad"), ('did you mean "red"?',)),
        (("--task", "red rows", "--latency-ms", "fast"), ("--latency-ms", "not a number")),
        (("--task", "red rows", "--latency-ms", "-1"), ("latency_ms",)),
        (("--task", "red rows", "--macs", "250%"), ("share",)),
        (("--task", "red rows", "--min-accuracy", "97"), ("min_accuracy",)),
        (("--task", "red rows", "--target", "rpi6"), ("did you mean",)),
        (("--task", "red rows", "--seed", "-1"), ("--seed",)),
        (("--latency-ms", "1"), ("--task",)),
        (("--task", "red rows", "--latency", "1"), ("--latency-ms",)),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_wrong_request_is_answered_with_what_is_right(tiny_supernet, tmp_path, arguments, words):
    out = tmp_path / "out"
    assert_fails(edgekit("build", "--model", tiny_supernet, "-o", out, *arguments), ExitCode.USAGE, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_build_needs_a_place(tiny_supernet):
    assert_fails(edgekit("build", "--model", tiny_supernet, "--task", "red rows"), ExitCode.USAGE, "--output")


def test_a_budget_that_nothing_fits_names_the_nearest_point_and_writes_nothing(tiny_supernet, tmp_path):
    arguments = ("--model", tiny_supernet, "--task", "red rows", "--latency-ms", "0.0001", "-o", tmp_path / "out")
    done = edgekit("build", *arguments, "--json")
    assert_fails(done, ExitCode.INFEASIBLE, "smallest network")
    error = json.loads(done.stdout)["error"]
    assert error["code"] == ExitCode.INFEASIBLE
    assert "predicted accuracy" in error["message"]
    assert error["hint"]
    assert list(tmp_path.iterdir()) == []
