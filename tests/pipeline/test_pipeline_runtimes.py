"""One network for several runtimes, run on this machine as a board, and one of them taken."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from network_files import inputs, write_network

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import UnstableError, UsageError, VerificationError
from edgekit.core.quantity import Evidence
from edgekit.core.records import sha256_of
from edgekit.devices.boards.board import LocalBoard, load_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.output_steps import output_steps
from edgekit.pipeline import runtime_candidates
from edgekit.pipeline.board_verification import board_check
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.compress import compress
from edgekit.pipeline.plan import plan, with_runtime
from edgekit.pipeline.predict import predict
from edgekit.pipeline.result import BuildResult

TASK = "red rows, blue columns, green rows"
RECORDS = {
    "card.md",
    "deploy",
    "env.json",
    "labels.txt",
    "log.txt",
    "outputs.safetensors",
    "plan.json",
    "recipe.json",
    "report.html",
    "report.json",
    "run.py",
}


@pytest.fixture
def pc(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine as a real board `local` of a device `pc`, for which another board's cost model stands in. There it lacks ONNX
    Runtime."""
    home = tmp_path_factory.mktemp("pc")
    rpi4, own = data_folder("devices") / "rpi4", home / "config/edgekit/devices/pc"
    shutil.copytree(rpi4, own)
    facts = (own / "device.toml").read_text().partition("[figures.")[0]
    for old, new in (
        ('name = "rpi4"', 'name = "pc"'),
        ("aliases = [", "aliases = [] # ["),
        ("threads = 4", "threads = 1"),
        ('triple = "aarch64', f'triple = "{platform.machine()}'),
        ('mcpu = "cortex-a72"', 'mcpu = "generic"'),
    ):
        assert old in facts
        facts = facts.replace(old, new)
    (own / "device.toml").write_text(facts)
    (home / "without").mkdir()
    (home / "without" / "onnxruntime.py").write_text("raise ModuleNotFoundError(\"No module named 'onnxruntime'\")\n")
    board = {
        "transport": "local",
        "device": "pc",
        "workspace": str(home / "board"),
        "python": [sys.executable],
        "env": {"PYTHONPATH": str(home / "without")},
    }
    (home / "config/edgekit/boards.toml").write_text(tomli_w.dumps({"boards": {"local": board}}))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))


def rows_of(result: BuildResult) -> dict[str, dict[str, Any]]:
    report = json.loads((result.folder / "report.json").read_text())
    return {f"{row['runtime']}-{row['precision']}": row for row in report["candidates"]}


def without_onnx(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "onnxruntime", None)


@pytest.mark.usefixtures("pc")
def test_the_fastest_on_the_board_is_kept_alone(tiny_supernet: Path, stripes: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="TVM is an extra")
    pytest.importorskip("onnxscript", reason="ONNX is an extra")
    out = tmp_path / "out"
    try:
        result = build(task=TASK, model=tiny_supernet, target="pc:fp32", runtime="auto", board="local", output=out)
    except UnstableError as error:
        pytest.skip(f"this machine is too busy to be measured: {error.message}")
    rows = rows_of(result)
    assert set(rows) == {"tflite-fp32", "onnx-fp32", "tvm-fp32"}
    (chosen,) = (name for name, row in rows.items() if row["chosen"])
    assert str(result.plan.target) == f"pc:{chosen}"
    assert rows["onnx-fp32"]["verified"], "here"
    assert "No module named 'onnxruntime'" in rows["onnx-fp32"]["obstacle"]
    for name, row in rows.items():
        if not row["obstacle"]:
            assert row["latency"]["evidence"] == "measured"
            assert rows[chosen]["latency"]["value"] <= row["latency"]["value"], name
            assert row["instructions"] is None

    suffix = {"tflite": ".tflite", "onnx": ".onnx", "tvm": ".so"}[result.plan.target.runtime]
    assert {path.name for path in out.iterdir()} == RECORDS | {f"model{suffix}"}
    assert result.figure("latency").evidence is Evidence.MEASURED
    assert result.figure("latency predicted").evidence is Evidence.PREDICTED
    checks = {check["name"]: check for check in json.loads((out / "report.json").read_text())["verification"]["checks"]}
    assert checks["fp32 outputs on local against this machine's"]["value"] <= 1e-5
    card = (out / "card.md").read_text()
    assert "## Runtimes compared" in card
    assert result.reason in card
    assert verify(out).checks
    asked = [stripes[name] for name in result.labels]
    assert [answer.label for answer in predict(out, asked)] == list(result.labels)


def test_a_runtime_without_its_libraries_is_a_row_and_no_error(
    int8_build: BuildResult, tiny_supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where nothing else speaks, the file is the one that a build for the device makes."""
    without_onnx(monkeypatch)
    result = build(
        task=TASK, model=tiny_supernet, budget=int8_build.plan.budget, runtime="auto", output=tmp_path / "out"
    )
    rows = rows_of(result)
    for name in ("onnx-int8", "onnx-fp32", "tvm-int8", "tvm-fp32"):
        assert not rows[name]["verified"]
        assert "pip install 'edgekit[" in rows[name]["obstacle"]
    assert rows["tflite-fp32"]["verified"]
    assert rows["tflite-int8"]["chosen"]
    assert rows["tflite-int8"]["latency"]["evidence"] == "predicted"
    assert sha256_of(result.folder / "model.tflite") == sha256_of(int8_build.folder / "model.tflite")
    assert verify(result.folder).checks


@pytest.mark.slow
def test_int8_that_answers_otherwise_is_not_chosen(
    tiny_supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_onnx(monkeypatch)
    monkeypatch.setattr(runtime_candidates, "MIN_INT8_AGREEMENT", 1.01)
    result = build(task=TASK, model=tiny_supernet, runtime="auto", output=tmp_path / "out")
    rows = rows_of(result)
    assert rows["tflite-fp32"]["chosen"]
    assert not rows["tflite-int8"]["verified"]
    assert "int8 top-1 agreement" in rows["tflite-int8"]["obstacle"]


@pytest.mark.usefixtures("pc")
def test_a_compressed_network_is_run_on_the_board_too(tmp_path: Path) -> None:
    write_network(tmp_path / "net.onnx")
    x_NHWC = np.round(255 * inputs(".tflite", 40)).astype(np.uint8)
    np.savez(tmp_path / "inputs.npz", x=x_NHWC, y=np.arange(40) % 4)
    try:
        result = compress(
            str(tmp_path / "net.onnx"),
            data=tmp_path / "inputs.npz",
            passes=["fold::batch_norm"],
            target="pc:fp32",
            board="local",
            output=tmp_path / "out",
        )
    except UnstableError as error:
        pytest.skip(f"this machine is too busy to be measured: {error.message}")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert figures["latency"]["evidence"] == "measured"
    assert figures["latency predicted"]["evidence"] == "predicted"
    (check,) = (one for one in report["verification"]["checks"] if "outputs on local" in one["name"])
    assert check["value"] <= check["limit"] == 1e-5
    assert result.plan.to_json()["board"] == "local"
    assert verify(tmp_path / "out").checks


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBoard:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    python = load_board("local").python
    return LocalBoard(name="here", device="host", workspace=str(tmp_path / "board"), python=python)


def artifact_of(built: BuildResult) -> Artifact:
    path = built.folder / "model.tflite"
    return Artifact(path=path, precision=built.plan.target.precision, sha256="", size_bytes=path.stat().st_size)


def pictures_of(built: BuildResult) -> np.ndarray[Any, np.dtype[np.float32]]:
    from safetensors.numpy import load_file

    return load_file(built.folder / "outputs.safetensors")["x_NHWC"]


def test_a_board_that_computes_the_same_passes(built: BuildResult, here: LocalBoard) -> None:
    with open_board(here) as session:
        check = board_check(session, artifact_of(built), pictures_of(built), are_probabilities=True)
    assert check.value == 0
    assert check.limit == (1.0 if built.plan.target.precision is Precision.INT8 else 1e-5)


def test_a_board_that_computes_otherwise_is_found(built: BuildResult, here: LocalBoard, tmp_path: Path) -> None:
    (tmp_path / "faulty").mkdir()
    (tmp_path / "faulty" / "sitecustomize.py").write_text(
        "from ai_edge_litert.interpreter import Interpreter\n"
        "told = Interpreter.get_tensor\n"
        "Interpreter.get_tensor = lambda self, index: told(self, index)[..., ::-1]\n"
    )
    faulty = replace(here, env={"PYTHONPATH": str(tmp_path / "faulty")})
    with open_board(faulty) as session, pytest.raises(VerificationError, match="computes different outputs on here"):
        board_check(session, artifact_of(built), pictures_of(built), are_probabilities=True)


def test_steps_of_an_output_are_those_of_the_file(int8_build: BuildResult, fp32_build: BuildResult) -> None:
    steps = output_steps(int8_build.folder / "model.tflite")
    assert steps is not None
    assert steps.scale == pytest.approx(1 / 256)
    np.testing.assert_allclose(steps.to_float(np.array([-128, 127], np.int8)), [0, 255 / 256])
    assert output_steps(fp32_build.folder / "model.tflite") is None


def test_a_runtime_may_be_named_apart() -> None:
    for target, runtime, expected in (
        ("rpi4", "tvm", "rpi4:tvm-int8"),
        ("rpi4:fp32", "onnx", "rpi4:onnx-fp32"),
        ("rpi4:tvm-fp32", "tvm", "rpi4:tvm-fp32"),
        ("rpi4:onnx", None, "rpi4:onnx-int8"),
        ("rpi5:fp16", "tvm", "rpi5:tvm-fp16"),
    ):
        resolved, candidates = with_runtime(target, runtime)
        assert str(resolved) == expected
        assert candidates == ()


def test_auto_compares_all_that_the_device_has_in_the_precision_that_is_named() -> None:
    resolved, candidates = with_runtime("rpi4", "auto")
    assert str(resolved) == "rpi4:tflite-int8"
    assert {str(one) for one in candidates} == {
        f"rpi4:{runtime}-{precision}" for runtime in ("tflite", "onnx", "tvm") for precision in ("int8", "fp32")
    }
    assert {str(one) for one in with_runtime("pixel3:fp32", "auto")[1]} == {"pixel3:tflite-fp32"}
    assert "rpi5:tvm-fp16" in {str(one) for one in with_runtime("rpi5", "auto")[1]}


@pytest.mark.parametrize(
    ("target", "runtime", "word"),
    [
        ("rpi4:tvm", "onnx", "names the runtime tvm"),
        ("rpi4:tflite", "auto", "leave it out"),
        ("rpi4", "ncnn", '"auto"'),
        ("pixel3", "tvm", 'no runtime "tvm"'),
    ],
)
def test_runtimes_that_contradict_or_do_not_exist_are_refused(target: str, runtime: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_runtime(target, runtime)
    assert word in f"{caught.value.message} {caught.value.hint}"


def test_a_board_of_another_device_is_refused(tiny_supernet: Path) -> None:
    with pytest.raises(UsageError, match="local is a host, not a rpi4"):
        plan(task=TASK, model=tiny_supernet, board="local")
