"""Files of TVM in every command, and what is said of runtimes and boards that do not fit."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

import pytest
from edgekit_command import assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode, MissingExtraError
from edgekit.exporters.tvm.toolchain import linker_for

TASK = "red rows, blue columns, green rows"


@pytest.fixture(scope="module")
def compiled(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A build for a processor that is not this machine's."""
    pytest.importorskip("tvm", reason="TVM is an extra")
    pytest.importorskip("onnxscript", reason="ONNX is an extra")
    try:
        linker_for("aarch64-linux-gnu")
    except MissingExtraError as error:
        pytest.skip(f"{error.message} ({error.hint})")
    out = tmp_path_factory.mktemp("compiled") / "out"
    asked = ("--model", tiny_supernet, "--task", TASK, "--target", "rpi4:fp32", "--runtime", "tvm")
    return edgekit_json("build", *asked, "-o", out)


def test_a_compiled_build_is_verified_recognises_pictures_and_is_profiled(
    compiled: dict[str, Any], stripes: dict[str, Path]
) -> None:
    out = Path(compiled["folder"])
    assert compiled["plan"]["target"] == "rpi4:tvm-fp32"
    assert {check["name"] for check in edgekit_json("verify", out)["checks"]} == {"files", "labels", "outputs"}
    pictures = {str(path): name for name, path in stripes.items() if name in compiled["labels"]}
    for model in (out, out / "model.so"):
        answers = edgekit_json("predict", model, *pictures)["predictions"]
        assert {answer["file"]: answer["label"] for answer in answers} == pictures

    figures = {figure["name"]: figure for figure in compiled["figures"]}
    for model, target in ((out, "rpi4"), (out / "model.so", "rpi4:fp32"), (out / "model.so", "rpi4:tvm")):
        told = edgekit_json("profile", model, "--target", target)
        assert told["target"] == "rpi4:tvm-fp32"
        (latency,) = (figure for figure in told["figures"] if figure["name"] == "latency")
        assert latency["value"] == pytest.approx(figures["latency"]["value"])
        assert "no figures of tvm" in latency["source"]
    for target, word in (
        ("rpi4:tflite", "not a file for tflite"),
        ("rpi4:int8", "not in int8"),
        ("pixel3", 'no runtime "tvm"'),
    ):
        assert_fails(edgekit("profile", out, "--target", target), ExitCode.USAGE, word)


def test_a_library_alone_is_profiled_but_not_run(
    compiled: dict[str, Any], stripes: dict[str, Path], tmp_path: Path
) -> None:
    alone = tmp_path / "model.so"
    shutil.copyfile(Path(compiled["folder"]) / "model.so", alone)
    assert edgekit_json("profile", alone, "--target", "rpi4")["target"] == "rpi4:tvm-fp32"
    if platform.machine() != "aarch64":
        done = edgekit("predict", alone, next(iter(stripes.values())))
        assert_fails(done, ExitCode.BAD_INPUT, "compiled for aarch64", "is not beside it")
        twin = Path(compiled["folder"]) / f"model.{platform.machine()}.so"
        done = edgekit("profile", twin, "--target", "rpi4")
        assert_fails(done, ExitCode.BAD_INPUT, f"is compiled for {platform.machine()}, and rpi4 has aarch64")
    alone.write_bytes(alone.read_bytes()[:3000])
    assert_fails(edgekit("profile", alone, "--target", "rpi4"), ExitCode.BAD_INPUT, "damaged or not a shared library")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "rpi4:tvm", "--runtime", "onnx"), ("names the runtime tvm",)),
        (("--target", "rpi4:tflite", "--runtime", "auto"), ("leave it out of the target",)),
        (("--runtime", "ncnn"), ('no runtime "ncnn"',)),
        (("--target", "rpi4:fp16", "--runtime", "tvm"), ("tvm on rpi4 has no fp16", "ask for int8 or fp32")),
        (("--target", "rpi5:fp16"), ("tflite on rpi5 has no fp16", "rpi5:tvm-fp16")),
        (("--board", "local"), ("local is a host, not a rpi4",)),
        (("--board", "lobal"), ('no board is called "lobal"', 'did you mean "local"')),
        (("--board", "local", "--variants", "1,2ms"), ("--variants",)),
        (("--runtime", "auto", "--early-exit", "0.9"), ("--early-exit",)),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    tiny_supernet: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    asked = ("build", "--model", tiny_supernet, "--task", TASK, "-o", tmp_path / "out", *arguments)
    assert_fails(edgekit(*asked), ExitCode.USAGE, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_what_will_be_compared(tiny_supernet: Path) -> None:
    asked = (
        "build",
        "--model",
        tiny_supernet,
        "--task",
        TASK,
        "--target",
        "rpi4:fp32",
        "--runtime",
        "auto",
        "--dry-run",
    )
    assert edgekit_json(*asked)["candidates"] == ["rpi4:tflite-fp32", "rpi4:onnx-fp32", "rpi4:tvm-fp32"]
    assert "rpi4:tflite-fp32, rpi4:onnx-fp32, rpi4:tvm-fp32" in edgekit(*asked).stdout
