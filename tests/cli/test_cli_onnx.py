"""A build for ONNX Runtime, from the command line to its predictions, and what is said where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from edgekit_command import ENVIRONMENT, assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode

TASK = "red rows, blue columns, green rows"


def test_a_build_for_onnx_is_verified_recognises_pictures_and_is_profiled(
    tiny_supernet: Path, stripes: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("nncf", reason="int8 ONNX files need edgekit[nncf]")
    out = tmp_path / "out"
    asked = ("--model", tiny_supernet, "--task", TASK, "--target", "rpi4:onnx", "--latency-ms", "1.0")
    built = edgekit_json("build", *asked, "-o", out)
    assert built["plan"]["target"] == "rpi4:onnx-int8"
    assert not (out / "model.tflite").exists()
    figures = {figure["name"]: figure for figure in built["figures"]}
    assert figures["size"]["value"] == (out / "model.onnx").stat().st_size
    assert figures["latency"]["value"] <= 1.0
    assert "no figures of onnx" in figures["latency"]["source"]

    assert {check["name"] for check in edgekit_json("verify", out)["checks"]} == {"files", "labels", "outputs"}
    pictures = {str(path): name for name, path in stripes.items() if name in built["labels"]}
    answers = edgekit_json("predict", out, *pictures)["predictions"]
    assert {answer["file"]: answer["label"] for answer in answers} == pictures

    profile = edgekit_json("profile", out, "--target", "rpi4")
    (latency,) = (figure for figure in profile["figures"] if figure["name"] == "latency")
    assert profile["target"] == "rpi4:onnx-int8"
    assert latency["interval"] == figures["latency"]["interval"]
    assert_fails(
        edgekit("profile", out, "--target", "rpi4:tflite"), ExitCode.USAGE, "is not a file for tflite", "rpi4:onnx"
    )


@pytest.mark.parametrize(
    ("target", "library", "extra"), [("rpi4:onnx", "onnxruntime", "nncf"), ("rpi4:onnx-fp32", "onnxscript", "onnx")]
)
def test_a_missing_library_is_named_before_anything_is_searched(
    tiny_supernet: Path, tmp_path: Path, target: str, library: str, extra: str
) -> None:
    without = f"import sys; sys.modules['{library}'] = None; from edgekit.cli.main import main; sys.exit(main())"
    arguments = ["build", "--model", tiny_supernet, "--task", TASK, "--target", target, "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", without, *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert_fails(done, ExitCode.MISSING_EXTRA, library, f"pip install 'edgekit[{extra}]'")
    assert list(tmp_path.iterdir()) == []


def test_variants_in_one_file_are_for_tflite_only(tiny_supernet: Path, tmp_path: Path) -> None:
    asked = ("--model", tiny_supernet, "--task", TASK, "--variants", "1,2ms", "-o", tmp_path / "out")
    assert_fails(
        edgekit("build", *asked, "--target", "rpi4:onnx"), ExitCode.USAGE, "only TFLite has files", "rpi4:tflite"
    )
