"""What a file costs, told without running it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.quantity import Evidence
from edgekit.pipeline.profile import Profile, profile
from edgekit.pipeline.result import BuildResult

MODELS = Path(__file__).parents[2].parent / "shared" / "data" / "models"
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="the models of other makers are not here")


def quantities(found: Profile) -> dict[str, float]:
    return {figure.name: figure.quantity.value for figure in found.figures}


def test_a_build_costs_what_its_report_says(built: BuildResult) -> None:
    found = profile(built.folder, "rpi4")
    assert found.target == str(built.plan.target), "the precision is the file's own"
    for name in ("latency", "peak RAM", "size", "MACs", "parameters"):
        assert quantities(found)[name] == pytest.approx(built.figure(name).value)


def test_operators_and_kinds_add_up(built: BuildResult) -> None:
    found = profile(built.folder, "rpi4")
    (latency,) = (figure.quantity for figure in found.figures if figure.name == "latency")
    assert latency.evidence is Evidence.PREDICTED
    assert latency.interval is not None
    assert latency.interval[0] < latency.value < latency.interval[1]
    for rows in (found.operators, found.kinds):
        assert sum(row.share for row in rows) == pytest.approx(1)
        assert sum(row.macs for row in rows) == quantities(found)["MACs"]
        assert 0 < sum(row.latency_ms for row in rows) <= latency.value, "each run costs something besides"
    assert [kind.latency_ms for kind in found.kinds] == sorted((kind.latency_ms for kind in found.kinds), reverse=True)
    assert sum(kind.operators for kind in found.kinds) == len(found.operators)


def test_a_precision_that_is_not_the_file_s_is_refused(int8_build: BuildResult) -> None:
    with pytest.raises(UsageError, match="computes in int8, not in fp32") as caught:
        profile(int8_build.folder, "rpi4:tflite-fp32")
    assert "rpi4:tflite-int8" in caught.value.hint
    assert profile(int8_build.folder, "rpi4:tflite").target == "rpi4:tflite-int8"


def test_a_variant_that_the_file_lacks_is_a_matter_of_usage(int8_build: BuildResult) -> None:
    with pytest.raises(UsageError, match='no variant "9ms"'):
        profile(int8_build.folder, "rpi4", variant="9ms")


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x20\x00\x00\x00TFL3" * 40])
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"model\.tflite"):
        profile(path, "rpi4")


@needs_models
@pytest.mark.parametrize(
    ("name", "precision", "heaviest"),
    [
        ("pretrainedResnet_quant", "int8", "conv, kernel 3"),
        ("pretrainedResnet", "fp32", "conv, kernel 3"),
        ("vww_96_int8", "int8", "conv"),
        ("ad01_fp32", "fp32", "dense"),
    ],
)
def test_networks_of_other_makers_are_priced(name: str, precision: str, heaviest: str) -> None:
    found = profile(MODELS / "mlperf_tiny" / f"{name}.tflite", "rpi4")
    assert found.target == f"rpi4:tflite-{precision}"
    assert found.kinds[0].kind == heaviest
    assert found.notes == ()


@needs_models
def test_what_the_prediction_lacks_is_said() -> None:
    notes = profile(MODELS / "traps" / "keyword_scrambled_8bit.tflite", "rpi4").notes
    assert any("SVDF" in note and "too low" in note for note in notes)
    assert any("int16" in note for note in notes)


@needs_models
def test_a_file_for_an_accelerator_names_what_it_needs() -> None:
    with pytest.raises(BadInputError, match="ethos-u"):
        profile(MODELS / "traps" / "person_detect_vela.tflite", "rpi4")


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """One convolution of 4,608 multiply-accumulates."""
    weights = onnx.numpy_helper.from_array(np.zeros((8, 4, 3, 3), np.float32), "w")
    image = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 6, 6])
    answer = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, 4, 4])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])], "g", [image], [answer], [weights]
    )
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph), str(path))
    return path


def test_an_onnx_file_is_priced_as_tflite_with_a_wider_interval(onnx_file: Path) -> None:
    found = profile(onnx_file, "rpi4")
    assert quantities(found)["MACs"] == 4608
    (latency,) = (figure.quantity for figure in found.figures if figure.name == "latency")
    assert "no figures of onnx" in latency.source
    assert found.target == "rpi4:onnx-fp32"
    assert latency.interval is not None
    assert latency.interval[1] / latency.interval[0] > 3, "runtimes differ"


def test_a_runtime_that_is_not_the_files_is_refused(onnx_file: Path) -> None:
    with pytest.raises(UsageError, match="is not a file for tflite") as caught:
        profile(onnx_file, "rpi4:tflite")
    assert "rpi4:onnx" in caught.value.hint
    with pytest.raises(UsageError, match='no runtime "onnx" on pixel3'):
        profile(onnx_file, "pixel3")
