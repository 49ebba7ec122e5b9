"""From `--variants` on the command line to a file that switches, on the shipped supernet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edgekit_command import assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode


@pytest.fixture(scope="session")
def switched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `edgekit build --variants --json` printed for three signs and two limits."""
    folder = tmp_path_factory.mktemp("builds") / "out"
    task = "stop, yield, no entry"
    return edgekit_json("build", "--target", "rpi4", "--task", task, "--variants", "0.5,0.8ms", "-o", folder)


def test_a_build_prints_every_variant_and_what_sharing_saves(switched):
    fast, slow = switched["variants"]
    for variant, limit_ms in ((fast, 0.5), (slow, 0.8)):
        figures = {figure["name"]: figure for figure in variant["figures"]}
        assert variant["name"] == f"{limit_ms:g}ms"
        assert figures["latency"]["evidence"] == "predicted"
        assert figures["latency"]["interval"][0] <= figures["latency"]["value"] <= limit_ms
    sizes = {figure["name"]: figure["value"] for figure in switched["figures"]}
    assert sizes["size"] == (Path(switched["folder"]) / "model.tflite").stat().st_size
    assert sizes["size"] < 0.8 * sizes["size apart"]


def test_the_folder_is_verified_and_each_variant_predicts(switched, stripes):
    folder, picture = switched["folder"], next(iter(stripes.values()))
    checks = {check["name"] for check in edgekit_json("verify", folder)["checks"]}
    assert checks == {"files", "labels, 0.5ms", "labels, 0.8ms", "outputs, 0.5ms", "outputs, 0.8ms"}
    default, slow, fast = (
        edgekit_json("predict", folder, picture, *variant)["predictions"][0]["probability"]
        for variant in ((), ("--variant", "0.8ms"), ("--variant", "0.5ms"))
    )
    assert default == slow != fast
    assert_fails(edgekit("predict", folder, picture, "--variant", "1ms"), ExitCode.USAGE, "0.5ms", "0.8ms")


def test_the_table_is_for_people(tiny_supernet, tmp_path):
    arguments = ("--model", tiny_supernet, "--task", "red rows, blue columns", "-o", tmp_path / "out")
    done = edgekit("build", *arguments, "--variants", "0.2,0.32ms")
    assert done.returncode == 0, done.stderr
    header, fast, slow, *rest = done.stdout.splitlines()
    assert header.split()[0] == "variant"
    assert (fast.split()[0], slow.split()[0]) == ("0.2ms", "0.32ms")
    assert any(line.startswith("size saved") for line in rest)
    assert "merge" in done.stderr


def test_a_dry_run_names_the_variants_and_writes_nothing(tiny_supernet, tmp_path):
    arguments = (
        "build",
        "--model",
        tiny_supernet,
        "--task",
        "red rows, blue columns",
        "--variants",
        "8,4ms",
        "--dry-run",
    )
    assert edgekit_json(*arguments, "-o", tmp_path / "out")["variants"] == {"4ms": 4.0, "8ms": 8.0}
    assert "4ms, 8ms" in edgekit(*arguments).stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--variants", "4,8"), ExitCode.USAGE, ("unit ms", "4,8,16ms")),
        (("--variants", "4,4ms"), ExitCode.USAGE, ("4ms", "twice")),
        (("--variants", "4,8ms", "--latency-ms", "4"), ExitCode.USAGE, ("gives the latency limits",)),
        (("--variants", "0.3,0.001ms"), ExitCode.INFEASIBLE, ("variant 0.001ms", "smallest network")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_request_is_answered_and_nothing_is_written(tiny_supernet, tmp_path, arguments, code, words):
    task = ("--model", tiny_supernet, "--task", "red rows, blue columns", "-o", tmp_path / "out")
    done = edgekit("build", *task, *arguments, "--json")
    assert_fails(done, code, *words)
    assert json.loads(done.stdout)["error"]["code"] == code
    assert list(tmp_path.iterdir()) == []
