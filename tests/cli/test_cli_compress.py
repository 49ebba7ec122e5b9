"""`edgekit compress` and `edgekit passes` as they are typed, and the files of others that break."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgekit_command import assert_fails, edgekit, edgekit_json
from onnx import TensorProto, helper

from edgekit.core.errors import ExitCode

TRAPS = Path(__file__).parents[3] / "shared" / "data" / "models" / "traps"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    np.savez(path, x=np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    return path


def network(
    path: Path, *, operator: str = "Gemm", weight: float = 0.5, shape: tuple[int | str, int] = ("n", 4)
) -> Path:
    """`x` (N, 4) -> (N, 3): one layer."""
    domain = "" if operator == "Gemm" else "nobody.knows"
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], domain=domain)],
        "one layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (shape[0], 3))],
        [helper.make_tensor("w", TensorProto.FLOAT, (4, 3), np.full(12, weight, np.float32))],
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_passes_are_listed_and_explained() -> None:
    listed = edgekit_json("passes", "list")["passes"]
    ids = {one["id"] for one in listed}
    assert {"fold::batch_norm", "prune::net_trim", "swap::repghost", "quant::int8", "train::distil"} <= ids
    shown = edgekit_json("passes", "show", "prune::channels")
    options = {option["name"]: option for option in shown["options"]}
    assert options["macs_share"]["type"] == "float"
    assert "latency" in shown["reduces"]
    text = edgekit("passes", "show", "prune::fedtiny").stdout
    assert "density" in text
    assert "2212.01977" in text


def test_a_misspelt_pass_is_a_usage_error() -> None:
    assert_fails(edgekit("passes", "show", "prune::nettrim"), ExitCode.USAGE, "prune::net_trim")


def test_a_dry_run_prints_the_plan_and_writes_nothing(inputs: Path, tmp_path: Path) -> None:
    plan = edgekit_json(
        "compress", "net.pt2", "--data", inputs, "--pass", "train::distil,epochs=3", "--macs", "1e6", "--dry-run"
    )
    assert plan["recipe"][0]["epochs"] == 3
    assert plan["target"] == "rpi4:tflite-int8"
    assert not list(tmp_path.iterdir())


def test_a_network_of_no_pictures_is_compressed(inputs: Path, tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    out = tmp_path / "out"
    done = edgekit(
        "compress", path, "--data", inputs, "--target", "rpi4:tflite-fp32", "--pass", "fold::batch_norm", "-o", out
    )
    assert done.returncode == 0, done.stderr
    assert "top-1 agreement" in done.stdout
    report = json.loads((out / "report.json").read_text())
    assert report["drop_points"] == 0
    assert edgekit("verify", out).returncode == 0


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda folder: network(folder / "x.onnx").write_bytes(b"\x08\x0a\x12\x07"), ExitCode.BAD_INPUT, "x.onnx"),
        (lambda folder: network(folder / "x.onnx", weight=float("nan")), ExitCode.BAD_INPUT, "not finite"),
        (lambda folder: network(folder / "x.onnx", operator="Mystery"), ExitCode.CONVERSION, "Mystery"),
        (lambda folder: network(folder / "x.onnx", shape=("n", "m")), ExitCode.CONVERSION, "dimension"),  # type: ignore[arg-type]
        (lambda folder: os.truncate(network(folder / "x.onnx"), 500 << 20), ExitCode.BAD_INPUT, "256 MB"),
        (lambda folder: os.truncate(network(folder / "x.onnx"), 60), ExitCode.BAD_INPUT, "x.onnx"),
    ],
    ids=["damaged", "nan", "unknown operator", "dynamic shape", "500 MB", "truncated"],
)
def test_networks_that_cannot_be_read_are_one_sentence(inputs, tmp_path, make, code, says) -> None:
    make(tmp_path)
    done = edgekit("compress", tmp_path / "x.onnx", "--data", inputs, "-o", tmp_path / "out")
    assert_fails(done, code, says)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not TRAPS.is_dir(), reason="the files that break loaders are not in this checkout")
def test_files_that_break_loaders_are_no_networks_to_compress(inputs: Path, tmp_path: Path) -> None:
    for path in sorted(TRAPS.glob("*.tflite")):
        done = edgekit("compress", path, "--data", inputs, "-o", tmp_path / "out")
        assert_fails(done, ExitCode.USAGE, ".pt2")
