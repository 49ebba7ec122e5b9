"""Whole networks through the TVM compiler: they answer as torch does, or in integers as arithmetic says."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

pytest.importorskip("tvm", reason="TVM is not installed: pip install 'edgekit[tvm]'")

from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_supernet import SIZE as STRIPES_SIZE

from edgekit.core.errors import ConversionError, MissingExtraError, VerificationError
from edgekit.core.model import Model, Preprocessing
from edgekit.devices.precision import Precision
from edgekit.devices.target import parse_target
from edgekit.exporters.exporter import exporter_for
from edgekit.exporters.layout import to_torch
from edgekit.exporters.onnx_file import convert_onnx, outputs_of
from edgekit.exporters.onnx_quantization import quantize_onnx
from edgekit.exporters.tvm.compiler import lowered
from edgekit.exporters.tvm.cpu import cpu_of, host_target
from edgekit.exporters.tvm.half import in_half_precision
from edgekit.exporters.tvm.library import compile_library, read_record
from edgekit.exporters.tvm.network import channels_last
from edgekit.exporters.tvm.products import workloads_of
from edgekit.exporters.tvm.tile import default_tile
from edgekit.exporters.tvm.toolchain import linker_for
from edgekit.exporters.verify import verify
from edgekit.pipeline.profile import precision_of
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import WEIGHTS, open_supernet
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.grammar import parse_task

SIZE = 12


class Excited(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        gate_NC = torch.sigmoid(self.excite(torch.relu(self.squeeze(x_NCHW.mean((2, 3))))))
        return x_NCHW * gate_NC.reshape(*gate_NC.shape, 1, 1)


class Everything(nn.Module):
    """What networks are made of: each branch reads the same 8 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.same = nn.Conv2d(8, 8, (3, 1), padding=(1, 0))
        self.doubled = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.excited = Excited(8)
        self.join = nn.Conv2d(38, 22, 1)
        self.head = nn.Linear(44, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = functional.hardswish(self.stem(x_NCHW))
        x = x + torch.relu(self.same(x))
        branches = [self.doubled(x), functional.relu6(self.grouped(x)), self.dilated(x), self.excited(x)]
        y = self.join(torch.cat(branches, 1))
        pooled = torch.cat([functional.max_pool2d(y, 2), functional.avg_pool2d(y, 2)], 1)
        return torch.softmax(self.head(pooled.mean((2, 3))), -1)


class Dense(nn.Module):
    """Of vectors, as own tasks on measurements have them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 43), nn.ReLU(), nn.Linear(43, 6))

    def forward(self, x_NC: Tensor) -> Tensor:
        y_NC: Tensor = self.layers(x_NC)
        return y_NC


def model_of(module: nn.Module, *shape: int) -> Model:
    with torch.inference_mode():
        outputs = module.eval()(torch.zeros(1, *shape)).shape[-1]
    return Model(
        module=module,
        input_shape=shape,
        labels=tuple(f"label {index}" for index in range(outputs)),
        preprocessing=Preprocessing(height=shape[-2], width=shape[-1]) if len(shape) == 3 else None,
        operators=(),
        provenance={"from": "Straßenschild"},
    )


def seeded(make: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


@pytest.mark.parametrize(("make", "shape"), [(Everything, (3, SIZE, SIZE)), (Dense, (7,))])
@pytest.mark.parametrize("precision", list(Precision))
def test_a_network_answers_as_torch_does(
    make: type[nn.Module], shape: tuple[int, ...], precision: Precision, tmp_path: Path
) -> None:
    module, rng = seeded(make), np.random.default_rng(0)
    given_N = rng.random((16, *shape[1:], *shape[:1]) if len(shape) == 3 else (16, *shape), np.float32)
    exporter, target = exporter_for("tvm"), replace(parse_target("host:tvm-fp32"), precision=precision)
    model = model_of(module, *shape)
    artifact = exporter.export(model, target=target, calibration_N=given_N, folder=tmp_path)
    answers_NK = exporter.run(artifact.path, given_N).outputs
    assert answers_NK.dtype == np.float32
    assert precision_of(exporter.read_graph(artifact.path)) is precision
    if precision is not Precision.INT8:
        with torch.inference_mode():
            expected_NK = module(torch.from_numpy(to_torch(given_N))).numpy()
        within = 1e-5 if precision is Precision.FP32 else 0.005
        np.testing.assert_allclose(answers_NK, expected_NK, rtol=0, atol=within * np.abs(expected_NK).max())
    else:  # the same integers, save where a value lies between two of them
        onnx = quantize_onnx(convert_onnx(model), to_torch(given_N))
        expected_NK = outputs_of(onnx, to_torch(given_N))
        assert np.abs(answers_NK - expected_NK).max() < 0.02 * np.abs(expected_NK).max()


class Large(nn.Module):
    """The same as its input but for rounding, by way of numbers that no half holds."""

    def forward(self, x_NC: Tensor) -> Tensor:
        return (x_NC * 1e5 + 1e5) * 1e-5 - 1


class Chunk(nn.Module):
    """Gives a part of what an operator gives."""

    def forward(self, x_NC: Tensor) -> Tensor:
        return (2 * x_NC).split([3, 4], 1)[1]


def test_what_exceeds_the_greatest_half_fails_verification(tmp_path: Path) -> None:
    given_N = np.random.default_rng(0).random((4, 7), np.float32)
    model = replace(model_of(Large(), 7), labels=())
    target = replace(parse_target("host:tvm-fp32"), precision=Precision.FP16)
    artifact = exporter_for("tvm").export(model, target=target, calibration_N=given_N, folder=tmp_path)
    with pytest.raises(VerificationError, match="fp16 difference in tolerances"):
        verify(model, artifact, given_N, min_agreement=0)


def test_a_part_of_what_an_operator_gives_is_no_output_in_half_precision(tmp_path: Path) -> None:
    model, given_N = replace(model_of(Chunk(), 7), labels=()), np.zeros((1, 7), np.float32)
    target = replace(parse_target("host:tvm-fp32"), precision=Precision.FP16)
    with pytest.raises(ConversionError, match="its output is the result of no operator"):
        exporter_for("tvm").export(model, target=target, calibration_N=given_N, folder=tmp_path)


def answer(onnx: bytes, x: Any) -> Any:
    """Of the compiled file in this process."""
    import tvm
    from tvm import relax

    target = host_target()
    cpu = cpu_of(target)
    module = lowered(onnx, target, cpu, partial(default_tile, cpu=cpu))
    pipeline = relax.pipeline.default_build_pipeline()
    built = relax.build(module, target=target, relax_pipeline=pipeline, exec_mode="compiled")
    return relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()


def quantised_convolution(
    w_OIHW: Any, *, scales_O: Any, weight_zeros_O: Any, scale: float, zero: Any, pads: list[int], groups: int
) -> bytes:
    """float32 -> QuantizeLinear -> DequantizeLinear -> Conv with weights that are dequantised."""
    from onnx import TensorProto, helper, numpy_helper

    height, width, kernel = 5, 4, w_OIHW.shape[2]
    channels = w_OIHW.shape[1] * groups
    out = [length + sum(pads[axis::2]) - kernel + 1 for axis, length in enumerate((height, width))]
    stored = {"w": w_OIHW, "ws": scales_O, "wz": weight_zeros_O, "s": np.float32(scale), "z": zero}
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        helper.make_node("Conv", ["x", "wf"], ["output"], pads=pads, group=groups, kernel_shape=[kernel, kernel]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("input", [1, channels, height, width]), ("output", [1, len(w_OIHW), *out]))
    ]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "one", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(
    zero=st.one_of(st.integers(0, 255).map(np.uint8), st.integers(-128, 127).map(np.int8)),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    depthwise=st.booleans(),
    least_weight=st.sampled_from((-127, -128)),
    weight_zero=st.sampled_from((0, 0, 3)),
    seed=st.integers(0, 99),
)
def test_zero_points_pad_and_cancel(
    zero: Any, pads: list[int], depthwise: bool, least_weight: int, weight_zero: int, seed: int
) -> None:
    rng, channels, scale = np.random.default_rng(seed), 6, 0.125
    w_OIHW = rng.integers(least_weight, 128, (channels, 1 if depthwise else channels, 3, 3)).astype(np.int8)
    w_OIHW.flat[:2] = least_weight, 127
    scales_O = (2.0 ** -rng.integers(3, 8, channels)).astype(np.float32)
    onnx = quantised_convolution(
        w_OIHW,
        scales_O=scales_O,
        weight_zeros_O=np.full(channels, weight_zero, np.int8),
        scale=scale,
        zero=zero,
        pads=pads,
        groups=channels if depthwise else 1,
    )
    limits = np.iinfo(zero.dtype)
    x_NCHW = rng.integers(limits.min, limits.max + 1, (1, channels, 5, 4)).astype(np.float64) - float(zero)
    x_NCHW.flat[:2] = limits.min - float(zero), limits.max - float(zero)
    top, left, bottom, right = pads
    exact = functional.conv2d(
        functional.pad(torch.from_numpy(x_NCHW), (left, right, top, bottom)),
        torch.from_numpy(w_OIHW.astype(np.float64) - weight_zero),
        groups=channels if depthwise else 1,
    ).numpy()
    expected_NHWC = (exact * (scale * scales_O.astype(np.float64))[:, None, None]).transpose(0, 2, 3, 1)
    found_NHWC = answer(onnx, (x_NCHW * scale).astype(np.float32).transpose(0, 2, 3, 1).copy())
    # Scales are powers of two, so that float32 rounds only sums too long for it.
    np.testing.assert_allclose(found_NHWC, expected_NHWC, rtol=1e-6, atol=1e-6 * np.abs(expected_NHWC).max())


@pytest.fixture(scope="module")
def subnet(tiny_supernet: Path) -> Model:
    folder = open_supernet(tiny_supernet)
    task = parse_task("red rows, blue columns, green rows", folder.vocabulary)
    supernet = folder.load(folder.read_tensors(WEIGHTS))
    return model_of(slice_subnet(supernet, Genotype.parse("03.07.03"), task), 3, STRIPES_SIZE, STRIPES_SIZE)


@pytest.mark.parametrize("precision", list(Precision))
def test_an_assembled_network_changes_no_layout_and_has_kernels_for_all_its_layers(
    subnet: Model, precision: Precision
) -> None:
    onnx = convert_onnx(subnet)
    if precision is Precision.INT8:
        onnx = quantize_onnx(onnx, np.random.default_rng(0).random((8, 3, STRIPES_SIZE, STRIPES_SIZE), np.float32))
    target = host_target()
    cpu = cpu_of(target)
    half = precision is Precision.FP16
    module = lowered(onnx, target, cpu, partial(default_tile, cpu=cpu), half=half)
    names = [variable.name_hint for variable, _ in module.functions_items()]
    assert [name for name in names if "transpose" in name or "conv2d" in name or "matmul" in name] == []
    with target:
        spelt_out = channels_last(onnx, cpu.activations)
        found = workloads_of(in_half_precision(spelt_out) if half else spelt_out)
    wanted = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.INT8: "int8"}[precision]
    assert {workload.precision for workload in found if workload.kind != "dense"} == {wanted}


def test_the_same_network_makes_the_same_bytes_with_its_record_inside(subnet: Model, tmp_path: Path) -> None:
    target, onnx = host_target(), convert_onnx(subnet)
    cpu = cpu_of(target)
    record = {"labels": ["Straße", "左折"], "depth": {"of": [1, 2.5, None]}}
    paths = [tmp_path / "one.so", tmp_path / "two.so"]
    for path in paths:
        module = lowered(onnx, target, cpu, partial(default_tile, cpu=cpu))
        compile_library(module, target, linker_for("x86_64-linux-gnu"), path, record)
        assert read_record(path) == record
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_missing_linker_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="no linker for aarch64") as caught:
        exporter_for("tvm").check_installed(parse_target("rpi4:tvm"))
    assert caught.value.code == 8
    assert caught.value.hint.endswith("gcc-aarch64-linux-gnu libc6-dev-arm64-cross")


@pytest.mark.parametrize("library", ["tvm", "tvm_ffi"])
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=f"needs {library}") as caught:
        exporter_for("tvm").check_installed(parse_target("host:tvm-fp32"))
    assert caught.value.code == 8
    assert caught.value.hint == "pip install 'edgekit[tvm]'"
