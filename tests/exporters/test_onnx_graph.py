"""ONNX files read as the operators that a runtime executes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exported_networks import SIZE, Classifier, describe
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.errors import BadInputError
from edgekit.core.operators import OperatorKind
from edgekit.exporters.foreign import read_foreign_graph
from edgekit.exporters.onnx_graph import read_onnx_graph

WITH_WEIGHTS = (OperatorKind.CONV, OperatorKind.DEPTHWISE, OperatorKind.DENSE)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Path]:
    """A network with a free batch, by torch's own exporter."""
    torch.manual_seed(3)
    module, path = Classifier(5).eval(), tmp_path_factory.mktemp("onnx") / "model.onnx"
    with pytest.warns(DeprecationWarning, match="ONNX export"):
        torch.onnx.export(
            module,
            (torch.zeros(1, 3, SIZE, SIZE),),
            str(path),
            dynamo=False,
            input_names=["image"],
            dynamic_axes={"image": {0: "n"}},
        )
    return module, path


def saved(path: Path, nodes: list[Any], weights: dict[str, np.ndarray], *, size: int | str = 8) -> Path:
    """A file with one input `x` of 4 channels and one output `y`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports), str(path))
    return path


def filters(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_a_network_reads_as_torch_counts_it(exported: tuple[Classifier, Path]) -> None:
    module, path = exported
    graph = read_onnx_graph(path)

    def facts(operators: Any) -> list[tuple[Any, ...]]:
        return [
            (op.kind, op.macs, op.weights, op.biases, op.channels, op.kernel, op.stride, op.output.elements)
            for op in operators
            if op.kind in WITH_WEIGHTS
        ]

    assert facts(graph.operators) == facts(describe(module))
    assert graph.census == {"Conv": 11, "Add": 2, "ReduceMean": 1, "Gemm": 1, "Softmax": 1}
    assert [(tensor.name, tensor.shape) for tensor in graph.inputs] == [("image", (1, 3, SIZE, SIZE))]
    written = {"image"}
    for operator in graph.operators:
        assert {tensor.name for tensor in operator.inputs} <= written
        written.add(operator.output.name)


def test_the_process_of_its_own_reads_the_same(exported: tuple[Classifier, Path]) -> None:
    _, path = exported
    assert read_foreign_graph(path) == read_onnx_graph(path)


def test_what_no_output_needs_and_what_is_fused_is_not_executed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["x", "w"], ["dead"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["dead"], ["dead too"]),
        helper.make_node("Identity", ["c"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["e"]),
        helper.make_node("Mul", ["d", "e"], ["y"]),
    ]
    graph = read_onnx_graph(saved(tmp_path / "m.onnx", nodes, {"w": filters(4, 4, 3, 3), "s": filters(4)}))
    assert graph.census == {"Conv": 1, "Sigmoid": 1, "Mul": 1}
    conv, sigmoid, mul = graph.operators
    assert conv.macs == 8 * 8 * 4 * 4 * 9
    assert [tensor.name for tensor in mul.inputs] == [conv.output.name, sigmoid.output.name]


def test_an_activation_whose_input_is_read_elsewhere_stands_alone(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    assert read_onnx_graph(saved(tmp_path / "m.onnx", nodes, {"w": filters(4, 4, 1, 1)})).census == {
        "Conv": 1,
        "Relu": 1,
        "Add": 1,
    }


def test_quantised_pairs_are_a_precision_and_no_operators(tmp_path: Path) -> None:
    scale, zero = np.float32(0.1), np.int8(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["aq"]),
        helper.make_node("DequantizeLinear", ["aq", "s", "z"], ["y"]),
    ]
    weights = {"wq": np.zeros((6, 4, 1, 1), np.int8), "s": np.array(scale), "z": np.array(zero)}
    graph = read_onnx_graph(saved(tmp_path / "m.onnx", nodes, weights))
    assert graph.census == {"Conv": 1}
    assert graph.dtypes == {"int8": 1}
    assert graph.operators[0].weights == 24


def test_an_operator_of_somebody_s_own_has_no_known_shape(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Mystery", ["a"], ["y"], domain="own")]
    path = saved(tmp_path / "m.onnx", nodes, {})
    with pytest.raises(BadInputError, match="shape of y"):
        read_onnx_graph(path)


def test_a_free_size_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, size="size")
    with pytest.raises(BadInputError, match="does not say the shape") as caught:
        read_onnx_graph(path)
    assert "fixed shapes" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"text, not a network", bytes(range(256)) * 8])
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"m\.onnx is not an ONNX file"):
        read_onnx_graph(path)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_is_read_or_refused(exported: tuple[Classifier, Path], tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(exported[1].read_bytes())
    for at in rng.integers(0, len(content), 20):
        content[at] = rng.integers(256)
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with suppress(BadInputError):
        assert read_foreign_graph(path).census is not None
