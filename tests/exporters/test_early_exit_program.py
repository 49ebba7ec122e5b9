"""The host program: which stages it calls, with what, and what it answers; whatever runtime they are of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError
from edgekit.exporters.early_exit import PROGRAM, EarlyExitProgram, StageFile, answer, file_stage
from edgekit.exporters.runner import RunResult

BOTH = EarlyExitProgram(
    threshold=0.9,
    stages=(StageFile(name="first", file="first.onnx"), StageFile(name="last", file="model.tflite", signature="last")),
)


class Recorder:
    """A stage that knows the answer to each picture by its number, and notes which it was asked."""

    def __init__(self, p_NK: NDArray[np.float32]) -> None:
        self.p_NK, self.asked = p_NK, list[int]()

    def __call__(self, x_NHWC: NDArray[np.float32]) -> RunResult:
        rows = x_NHWC[:, 0, 0, 0].astype(int)
        self.asked += rows.tolist()
        return RunResult(outputs=self.p_NK[rows], times_ms=np.ones(len(rows)))


def pictures(count: int, size: int) -> NDArray[np.float32]:
    """Each holds its number."""
    return np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, size, size, 3))


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 9),
    depth=st.integers(1, 4),
    threshold=st.sampled_from([0.0, 0.4, 0.5, 0.7, 1.01]),
)
def test_each_picture_goes_as_far_as_the_first_sure_stage(seed: int, count: int, depth: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    p_SNK = rng.dirichlet(np.ones(3), (depth, count)).astype(np.float32)
    stages = [Recorder(p_NK) for p_NK in p_SNK]
    sizes = range(1, depth + 1)
    answers = answer(stages, [pictures(count, size) for size in sizes], threshold=threshold)
    for number in range(count):
        stage = next((s for s in range(depth - 1) if p_SNK[s, number].max() >= threshold), depth - 1)
        assert answers.stage_N[number] == stage
        assert np.array_equal(answers.p_NK[number], p_SNK[stage, number])
        assert answers.times_ms[number] == stage + 1
        assert [stages[s].asked.count(number) for s in range(depth)] == [int(s <= stage) for s in range(depth)]


def test_an_onnx_stage_gets_its_own_layout(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra for ONNX is not installed")
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    given_at = make.make_tensor_value_info("x", number, [1, 3, 4, 4])
    result = make.make_tensor_value_info("y", number, [1, 3])
    axes = make.make_tensor("axes", onnx.TensorProto.INT64, [2], [2, 3])
    node = make.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    graph = make.make_graph([node], "means", [given_at], [result], [axes])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "means.onnx")
    x_NHWC = np.random.default_rng(0).random((5, 4, 4, 3), np.float32)
    run = file_stage(tmp_path / "means.onnx")(x_NHWC)
    assert np.allclose(run.outputs, x_NHWC.mean((1, 2)), atol=1e-6)


def test_a_program_is_read_as_it_was_written(tmp_path: Path) -> None:
    BOTH.write(tmp_path)
    assert EarlyExitProgram.read(tmp_path) == BOTH


@pytest.mark.parametrize(
    "change",
    [
        {"stages": []},
        {"stages": [{"name": "first"}]},
        {"stages": [{"name": "first", "file": "../../elsewhere.tflite"}]},
        {"stages": [{"name": "first", "file": "/elsewhere.tflite"}]},
        {"stages": "none"},
        {"threshold": "high"},
        {"threshold": None},
        {"schema_version": 2},
    ],
    ids=str,
)
def test_a_damaged_program_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    BOTH.write(tmp_path)
    record = json.loads((tmp_path / PROGRAM).read_text())
    (tmp_path / PROGRAM).write_text(json.dumps({**record, **change}))
    with pytest.raises(BadInputError, match=PROGRAM) as caught:
        EarlyExitProgram.read(tmp_path)
    assert caught.value.hint
