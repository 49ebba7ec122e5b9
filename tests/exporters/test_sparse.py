from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from exported_networks import Exported
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from edgekit.devices.precision import Precision
from edgekit.exporters.flatbuffer import pack, unpack
from edgekit.exporters.metadata import read_metadata
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.sparse import sparsify
from edgekit.exporters.tflite import export
from edgekit.exporters.tflite_graph import read_graph
from edgekit.exporters.verify import verify

Weights = npt.NDArray[np.float32]


def network(*weights: Weights) -> bytes:
    """For each of these a dense layer (w_OI) or a convolution (w_OHWI) that reads the input, all of one kind; without biases."""
    is_dense, channels = weights[0].ndim == 2, weights[0].shape[-1]
    place = (1,) if is_dense else (1, 6, 6)
    kind = "FullyConnected" if is_dense else "Conv2D"
    options = schema.FullyConnectedOptionsT() if is_dense else schema.Conv2DOptionsT(strideH=1, strideW=1)
    code = schema.BuiltinOperator.FULLY_CONNECTED if is_dense else schema.BuiltinOperator.CONV_2D
    contents = list(dict.fromkeys(w.tobytes() for w in weights))
    buffers = [b"", *contents, *(bytes(4 * len(w)) for w in weights)]
    tensors = [tensor((*place, channels), 0)]
    for number, w in enumerate(weights):
        tensors += [
            tensor(w.shape, 1 + contents.index(w.tobytes())),
            tensor((len(w),), 1 + len(contents) + number),
            tensor((*place, len(w)), 0),
        ]
    operators = [
        schema.OperatorT(
            inputs=np.array([0, first, first + 1], np.int32),
            outputs=np.array([first + 2], np.int32),
            builtinOptionsType=getattr(schema.BuiltinOptions, f"{kind}Options"),
            builtinOptions=options,
        )
        for first in range(1, len(tensors), 3)
    ]
    outputs = [one.outputs[0] for one in operators]
    return pack(
        schema.ModelT(
            version=3,
            operatorCodes=[schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code, version=1)],
            subgraphs=[schema.SubGraphT(tensors=tensors, inputs=[0], outputs=outputs, operators=operators)],
            buffers=[schema.BufferT(data=np.frombuffer(content, np.uint8) if content else None) for content in buffers],
        )
    )


def tensor(shape: tuple[int, ...], buffer: int) -> Any:
    return schema.TensorT(shape=np.array(shape, np.int32), type=schema.TensorType.FLOAT32, name=b"t", buffer=buffer)


def outputs_of(tflite: bytes, resolver: Any = OpResolverType.AUTO) -> list[Weights]:
    interpreter = Interpreter(model_content=tflite, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    x = np.random.default_rng(0).normal(size=given["shape"]).astype(np.float32)
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(one["index"])) for one in interpreter.get_output_details()]


def drawn(shape: tuple[int, ...], zeros: float, seed: int = 0) -> Weights:
    draw = np.random.default_rng(seed)
    return np.where(draw.random(shape) < zeros, 0, draw.normal(size=shape)).astype(np.float32)


def census(tflite: bytes, folder: Path) -> dict[str, int]:
    (folder / "model.tflite").write_bytes(tflite)
    return dict(read_graph(folder / "model.tflite").census)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 40), st.sampled_from([8, 255, 256, 257, 300])),
        st.tuples(st.integers(1, 20), st.just(3), st.just(3), st.sampled_from([3, 16, 64])),
        st.tuples(st.integers(1, 80), st.just(1), st.just(1), st.sampled_from([24, 260])),
    ),
    zeros=st.sampled_from([0.0, 0.1, 0.4, 0.7, 0.95, 1.0]),
    seed=st.integers(0, 1000),
)
def test_outputs_stay_and_no_file_grows(shape: tuple[int, ...], zeros: float, seed: int) -> None:
    dense = network(drawn(shape, zeros, seed))
    sparse = sparsify(dense)
    assert len(sparse) < len(dense) or sparse == dense
    for resolver in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        np.testing.assert_allclose(
            outputs_of(sparse, resolver)[0], outputs_of(dense, resolver)[0], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("shape", [(2, 240), (60, 200), (300, 300), (300, 500), (40, 3, 3, 32)])
def test_the_encoding_is_compressed_sparse_rows_as_scipy_reads_them(shape: tuple[int, ...]) -> None:
    w = drawn(shape, 0.5)
    model = unpack(sparsify(network(w)), name="it")
    (stored,) = (one for one in model.subgraphs[0].tensors if one.sparsity is not None)
    *_, channels = stored.sparsity.dimMetadata
    rows = csr_matrix(
        (
            model.buffers[stored.buffer].data.view(np.float32),
            channels.arrayIndices.values,
            channels.arraySegments.values.astype(np.int64),
        ),
        shape=(w.size // w.shape[-1], w.shape[-1]),
    )
    np.testing.assert_array_equal(rows.toarray().reshape(shape), w)


def test_zeros_pay_from_a_fifth_in_narrow_rows_and_from_a_third_in_wide_ones() -> None:
    for width, too_few, enough in ((256, 0.19, 0.23), (512, 0.32, 0.36)):
        for zeros, pays in ((too_few, False), (enough, True)):
            dense = network(drawn((512, width), zeros))
            assert (len(sparsify(dense)) < len(dense)) is pays, (width, zeros)


def test_weights_that_share_their_bytes_stay_as_they_are(tmp_path: Path) -> None:
    w = drawn((64, 64), 0.9)
    shared = network(w, w)
    assert sparsify(shared) == shared
    different = sparsify(network(w, drawn((64, 64), 0.9, seed=1)))
    assert census(different, tmp_path) == {"DENSIFY": 2, "FULLY_CONNECTED": 2}


def test_a_sparse_file_is_not_made_sparse_twice() -> None:
    once = sparsify(network(drawn((64, 64), 0.9)))
    assert sparsify(once) == once


def test_export_stores_masked_weights_sparse_and_verification_passes(plain: Exported, tmp_path: Path) -> None:
    model = plain.model
    module = type(model.module)(len(model.labels))
    module.load_state_dict(model.module.state_dict())
    draw = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(weight.shape, generator=draw) < 0.4
        for name, weight in module.named_parameters()
        if weight.ndim == 4 and weight.shape[1] > 3
    }
    with torch.no_grad():
        for name, mask in masks.items():
            module.get_parameter(name).mul_(mask)
    pruned = replace(model, module=module.eval(), masks=masks)
    x_N = plain.x_NHWC[:20]
    sparse = export(pruned, precision=Precision.FP32, calibration_N=x_N, folder=tmp_path / "sparse")
    dense = export(replace(pruned, masks={}), precision=Precision.FP32, calibration_N=x_N, folder=tmp_path / "dense")
    assert sparse.size_bytes < 0.85 * dense.size_bytes
    assert verify(pruned, sparse, x_N, min_agreement=1).census["DENSIFY"] > 0
    graphs = [read_graph(one.path) for one in (sparse, dense)]
    assert graphs[0].macs == graphs[1].macs
    assert graphs[0].parameters == graphs[1].parameters
    assert [len(one.inputs) for one in graphs[0].operators] == [len(one.inputs) for one in graphs[1].operators]
    assert read_metadata(sparse.path).labels == model.labels
    one, other = (run_in_subprocess(artifact.path, x_N).outputs for artifact in (sparse, dense))
    np.testing.assert_allclose(one, other, atol=1e-5)
