"""ONNX files read and lifted, judged by ONNX Runtime and by the networks that they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from network_zoo import made
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn

from edgekit.core.errors import BadInputError, ConversionError
from edgekit.networks.lifting import lifted
from edgekit.networks.loading import load_network
from edgekit.networks.onnx_reader import read_onnx
from edgekit.networks.program import Program, read_program_files, write_program

runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime judges what is read")


def module_of(path: Path) -> tuple[fx.GraphModule, Program]:
    """By way of our own files, as the loader goes."""
    write_program(read_onnx(path), path.parent)
    program = read_program_files(path.parent)
    return lifted(program), program


def written(
    path: Path,
    nodes: Sequence[Any],
    shape: Sequence[int | str],
    constants: dict[str, Any] | None = None,
    *,
    opset: int = 18,
    ir: int = 9,
) -> Path:
    """A file with one input "x" and one output "y"."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "network", [x], [y], held)
    domains = {"": opset} | {one.domain: 1 for one in nodes if one.domain}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0]
    if not inferred.type.tensor_type.HasField("shape"):
        inferred = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "columns"])
    graph.output[0].CopyFrom(inferred)
    model.graph.CopyFrom(graph)
    onnx.save(model, path)
    return path


def normal(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def integers(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


node = helper.make_node
IMAGE = ("n", 4, 8, 8)
CASES: dict[str, tuple[list[Any], Sequence[int | str], dict[str, Any]]] = {
    "conv with uneven pads": (
        [node("Conv", ["x", "w", "b"], ["y"], pads=[0, 1, 2, 1], strides=[2, 1], dilations=[1, 2], group=2)],
        IMAGE,
        {"w": normal(6, 2, 3, 3), "b": normal(6)},
    ),
    "conv padded as by TensorFlow": (
        [node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2, 2])],
        IMAGE,
        {"w": normal(4, 4, 3, 3)},
    ),
    "transposed conv": (
        [node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])],
        IMAGE,
        {"w": normal(4, 3, 3, 3)},
    ),
    "batch norm and clip": (
        [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["h"]), node("Clip", ["h", "low", "high"], ["y"])],
        IMAGE,
        {
            "s": normal(4),
            "b": normal(4),
            "m": normal(4),
            "v": np.abs(normal(4)) + 1,
            "low": np.float32(0),
            "high": np.float32(6),
        },
    ),
    "pools": (
        [
            node("MaxPool", ["x"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
            node("AveragePool", ["a"], ["b"], kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
            node("GlobalAveragePool", ["b"], ["c"]),
            node("Flatten", ["c"], ["y"]),
        ],
        IMAGE,
        {},
    ),
    "gemm": (
        [node("Gemm", ["x", "w", "c"], ["y"], alpha=0.5, beta=2.0)],
        ("n", 5),
        {"w": normal(5, 3), "c": normal(1, 3)},
    ),
    "product and sum": (
        [node("MatMul", ["x", "w"], ["h"]), node("Add", ["b", "h"], ["y"])],
        ("n", 7, 5),
        {"w": normal(5, 3), "b": normal(3)},
    ),
    "shapes that are computed": (
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n", "axis"], ["n1"]),
            node("Concat", ["n1", "rest"], ["shape"], axis=0),
            node("Reshape", ["x", "shape"], ["h"]),
            node("Relu", ["h"], ["y"]),
        ],
        IMAGE,
        {"zero": np.array(0), "axis": integers(0), "rest": integers(-1, 16)},
    ),
    "split, slice and concat": (
        [
            node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
            node("Slice", ["a", "from", "to", "axes", "steps"], ["c"]),
            node("Slice", ["b", "from", "to", "axes", "steps"], ["d"]),
            node("Concat", ["d", "c"], ["e"], axis=1),
            node("Transpose", ["e"], ["y"], perm=[0, 2, 3, 1]),
        ],
        IMAGE,
        {"from": integers(1, 0), "to": integers(-1, 8), "axes": integers(2, -1), "steps": integers(1, 2)},
    ),
    "resizes and pads": (
        [
            node(
                "Resize",
                ["x", "", "scales"],
                ["a"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
            node("Resize", ["a", "", "", "sizes"], ["b"], mode="linear", coordinate_transformation_mode="half_pixel"),
            node("Pad", ["b", "pads"], ["c"], mode="reflect"),
            node("DepthToSpace", ["c"], ["y"], blocksize=2),
        ],
        (1, 4, 8, 8),
        {
            "scales": np.array([1, 1, 2, 2], np.float32),
            "sizes": integers(1, 4, 12, 12),
            "pads": integers(0, 0, 1, 2, 0, 0, 0, 1),
        },
    ),
    "norms": (
        [
            node("LayerNormalization", ["x", "s", "b"], ["h"], axis=-1),
            node("InstanceNormalization", ["h", "i", "j"], ["k"]),
            node("PRelu", ["k", "slope"], ["y"]),
        ],
        IMAGE,
        {"s": normal(8), "b": normal(8), "i": normal(4), "j": normal(4), "slope": normal(4, 1, 1)},
    ),
    "activations": (
        [
            node("CastLike", ["low", "x"], ["bound"]),
            node("Clip", ["x", "bound"], ["clipped"]),
            node("Sigmoid", ["x"], ["a"]),
            node("Mul", ["a", "x"], ["b"]),
            node("HardSigmoid", ["b"], ["c"], alpha=0.3),
            node("LeakyRelu", ["c"], ["d"], alpha=0.2),
            node("Elu", ["d"], ["e"]),
            node("Div", ["one", "e"], ["f"]),
            node("Add", ["f", "clipped"], ["ff"]),
            node("Softmax", ["ff"], ["g"], axis=1),
            node("HardSwish", ["g"], ["y"]),
        ],
        IMAGE,
        {"one": np.float32(1.5), "low": np.array(-1)},
    ),
    "reductions": (
        [
            node("ReduceMean", ["x", "axes"], ["a"], keepdims=0),
            node("ReduceMax", ["x", "axes"], ["b"], keepdims=0),
            node("Max", ["a", "b", "a"], ["c"]),
            node("Pow", ["c", "two"], ["d"]),
            node("Unsqueeze", ["d", "last"], ["s"]),
            node("Squeeze", ["s", "last"], ["e"]),
            node("Dropout", ["e"], ["y"]),
        ],
        IMAGE,
        {"axes": integers(2, 3), "two": np.float32(2), "last": integers(-1)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_operators_compute_what_onnx_runtime_computes(case: str, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", *CASES[case])
    module, program = module_of(path)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1,) if CASES[case][1][0] == 1 else (1, 5):
        x = normal(batch, *program.inputs[0].shape[1:])
        (expected,) = session.run(None, {"x": x})
        with torch.no_grad():
            np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), expected, atol=1e-5, rtol=1e-4)


def test_a_product_and_its_sum_are_one_layer(tmp_path: Path) -> None:
    module, _ = module_of(written(tmp_path / "m.onnx", *CASES["product and sum"]))
    assert [type(one) for one in module.children()] == [nn.Linear]
    module, _ = module_of(written(tmp_path / "m.onnx", *CASES["batch norm and clip"]))
    assert [type(one) for one in module.children()] == [nn.BatchNorm2d, nn.ReLU6]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mobile", "concatenating"])
def test_what_torch_exports_keeps_its_names(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="torch exports by it")
    network, shape = made(name)
    torch.onnx.export(network, (torch.zeros(2, *shape),), tmp_path / "m.onnx", dynamo=True, verbose=False)
    loaded = load_network(str(tmp_path / "m.onnx"))
    assert "ONNX Runtime" in loaded.notes[0]
    assert loaded.input_shape == shape
    convolutions = [name for name, one in network.named_modules() if isinstance(one, (nn.Conv2d, nn.Linear))]
    assert set(convolutions) <= dict(loaded.module.named_modules()).keys()
    x_N = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(loaded.module(x_N), network(x_N), atol=1e-5, rtol=1e-5)


QUANTISED = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]
NAN = normal(4, 4, 1, 1)
NAN[0] = np.nan


@pytest.mark.parametrize(
    ("nodes", "shape", "constants", "kind", "reason"),
    [
        (QUANTISED, IMAGE, {"s": np.float32(1)}, ConversionError, "already quantised"),
        ([node("Conv", ["x", "w"], ["y"])], IMAGE, {"w": NAN}, BadInputError, r"w in .* not finite"),
        ([node("Relu", ["x"], ["y"])], ("n", 3, "h", 8), {}, ConversionError, "dimension 2 of x"),
        ([node("Det", ["x"], ["y"], name="the determinant")], IMAGE, {}, ConversionError, r"Det \(at the determinant"),
        ([node("Fancy", ["x"], ["y"], domain="acme")], IMAGE, {}, (BadInputError, ConversionError), r"acme|Fancy"),
        ([node("NonZero", ["x"], ["z"]), node("Cast", ["z"], ["y"], to=1)], IMAGE, {}, ConversionError, "NonZero"),
        ([node("Conv", ["x", "w"], ["y"])], IMAGE, {"w": normal(4, 3, 1, 1)}, (BadInputError, ConversionError), r"[Cc]onv|damaged"),
        ([node("Relu", ["nowhere"], ["y"])], IMAGE, {}, BadInputError, "not a complete ONNX file"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(
    nodes: list[Any], shape: Sequence[int | str], constants: dict[str, Any], kind: Any, reason: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "m.onnx", nodes, shape, constants)
    with pytest.raises(kind, match=reason) as caught:
        module_of(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_an_opset_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], IMAGE, opset=7, ir=4)
    with pytest.raises(ConversionError, match="of opset 7, expected 9 to"):
        read_onnx(path)


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "link.bin"])
def test_weights_outside_the_folder_are_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = written(folder / "m.onnx", [node("Conv", ["x", "w"], ["y"])], IMAGE, {"w": normal(4, 4, 1, 1)})
    model = onnx.load(path)
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadInputError, match="outside its folder"):
        read_onnx(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(part: float, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", *CASES["conv with uneven pads"])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(BadInputError, match="not a complete ONNX file"):
        read_onnx(path)
