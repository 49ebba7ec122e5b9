"""`edgekit profile` on a build and on files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit_command import assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode


def test_figures_kinds_and_operators_are_printed_with_their_evidence(built: dict[str, Any]) -> None:
    done = edgekit("profile", built["folder"], "--target", "rpi4")
    assert done.returncode == 0, done.stderr
    assert "predicted  cost model of rpi4" in done.stdout
    assert "ms predicted" in done.stdout
    record = edgekit_json("profile", Path(built["folder"]) / "model.tflite", "--target", "rpi4")
    assert record["schema_version"] == 1
    assert record["target"] == "rpi4:tflite-int8"
    assert {figure["evidence"] for figure in record["figures"]} == {"predicted", "measured"}
    for operator in record["operators"]:
        assert operator["name"] in done.stdout


def test_failures_have_their_exit_codes(built: dict[str, Any], tmp_path: Path) -> None:
    assert_fails(edgekit("profile", tmp_path / "none", "--target", "rpi4"), ExitCode.BAD_INPUT, "does not exist")
    assert_fails(edgekit("profile", built["folder"], "--target", "rpi9"), ExitCode.USAGE, "rpi9")
    assert_fails(edgekit("profile", built["folder"], "--target", "rpi4:tflite-fp32"), ExitCode.USAGE, "int8")
