"""From `--early-exit` on the command line to a file whose second network is called where the first is not sure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edgekit_command import edgekit, edgekit_json

from edgekit.core.errors import ExitCode


@pytest.fixture(scope="session")
def exits(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `edgekit build --early-exit 0.9 --json` printed, int8."""
    folder = tmp_path_factory.mktemp("exits") / "out"
    task = "red rows, blue columns, green rows"
    return edgekit_json("build", "--model", tiny_supernet, "--task", task, "--early-exit", "0.9", "-o", folder)


def test_a_build_prints_both_networks_and_the_share(exits):
    assert [variant["name"] for variant in exits["variants"]] == ["first", "last"]
    figures = {figure["name"]: figure for figure in exits["figures"]}
    assert figures["share that leaves early"]["evidence"] == "predicted"
    assert figures["mean latency"]["value"] < figures["latency"]["value"]
    assert exits["early_exit"]["threshold"] == 0.9


def test_the_program_is_checked_on_every_path_before_it_is_kept(exits):
    report = json.loads((Path(exits["folder"]) / "report.json").read_text())
    checks = {check["name"]: check["value"] for check in report["early_exit"]["checks"]}
    assert checks["pictures answered by the wrong network"] == 0
    assert checks["difference from the networks alone"] == 0
    assert checks["share of pictures answered by the same network as in torch"] >= 0.8


def test_predict_shows_who_answered(exits, stripes):
    done = edgekit("predict", exits["folder"], *list(stripes.values())[:2])
    assert done.returncode == 0, done.stderr
    assert "answered by" in done.stdout
    for prediction in edgekit_json("predict", exits["folder"], *stripes.values())["predictions"]:
        assert prediction["answered_by"] in {"first", "last"}
    assert edgekit("verify", exits["folder"]).returncode == 0


def test_a_dry_run_tells_the_threshold(tiny_supernet):
    done = edgekit(
        "build", "--model", tiny_supernet, "--task", "red rows", "--presence", "--early-exit", "0.9", "--dry-run"
    )
    assert done.returncode == 0, done.stderr
    assert "0.9" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("--early-exit", "1.5"), ("--early-exit", "0.9", "--variants", "1,2ms")], ids=str
)
def test_a_wrong_option_is_a_usage_error(tiny_supernet, arguments):
    done = edgekit("build", "--model", tiny_supernet, "--task", "red rows", *arguments, "--dry-run")
    assert done.returncode == ExitCode.USAGE
