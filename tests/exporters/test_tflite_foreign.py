"""Networks that edgekit did not assemble: arrays, outputs of any shape and range, operators of all kinds."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.core.errors import VerificationError
from edgekit.core.model import Model
from edgekit.devices.precision import Precision
from edgekit.exporters.check import Verification
from edgekit.exporters.flatbuffer import unpack
from edgekit.exporters.layer_names import file_layers
from edgekit.exporters.layout import to_file, to_torch
from edgekit.exporters.metadata import read_metadata
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import convert_fp32, export
from edgekit.exporters.tflite_graph import read_graph
from edgekit.exporters.verify import verify
from edgekit.networks.description import describe


def lifted(network: nn.Module, input_shape: tuple[int, ...]) -> Model:
    module = fx.symbolic_trace(network.eval())
    return Model(
        module=module,
        input_shape=input_shape,
        labels=(),
        preprocessing=None,
        operators=describe(module, input_shape).operators,
        output_range=None,
    )


def inputs(model: Model) -> np.ndarray:
    return to_file(np.random.default_rng(0).normal(size=(48, *model.input_shape)).astype(np.float32))


def checked(model: Model, folder: Path, precision: Precision = Precision.INT8) -> Verification:
    artifact = export(model, precision=precision, calibration_N=inputs(model), folder=folder)
    return verify(model, artifact, inputs(model)[:16], min_agreement=0.9)


class Shortcut(nn.Module):
    """As in ResNet for CIFAR: every second position, padded with channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, 1, 1)
        self.blocks = nn.ModuleList([nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 1)])
        self.linear = nn.Linear(16, 4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = torch.relu(self.first(x_NCHW))
        y_NCHW = self.blocks[2](torch.relu(self.blocks[1](self.blocks[0](x_NCHW))))
        y_NCHW = y_NCHW + F.pad(x_NCHW[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        logits_NK: Tensor = self.linear(torch.relu(y_NCHW).mean((2, 3)))
        return logits_NK


def test_padded_channels_and_slices_cost_no_change_of_layout(tmp_path: Path) -> None:
    model = lifted(Shortcut(), (3, 16, 16))
    verification = checked(model, tmp_path)
    assert "TRANSPOSE" not in verification.census
    assert verification.notes == ()
    assert {check.name for check in verification.checks} >= {"int8 top-1 agreement", "int8 variance reproduced"}


def test_operators_are_found_by_the_names_of_their_layers() -> None:
    layers = file_layers(unpack(convert_fp32(lifted(Shortcut(), (3, 16, 16))), name="the file"))
    assert {name: layer.operator for name, layer in layers.items()} == {
        "first": "CONV_2D",
        "blocks.0": "CONV_2D",
        "blocks.2": "CONV_2D",
        "linear": "FULLY_CONNECTED",
    }
    everything = [tensor for layer in layers.values() for tensor in layer.tensors]
    assert len(everything) == len(set(everything))


class Painter(nn.Module):
    """From a vector to a picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.grow = nn.Linear(6, 4 * 9)
        self.up = nn.ConvTranspose2d(4, 5, 2, 2)

    def forward(self, z_ND: Tensor) -> Tensor:
        y_NCHW: Tensor = self.up(F.silu(self.grow(z_ND)).view(-1, 4, 3, 3))
        return y_NCHW


def test_a_picture_comes_out_channels_last(tmp_path: Path) -> None:
    model = lifted(Painter(), (6,))
    checked(model, tmp_path)
    x_ND = inputs(model)[:3]
    outputs = run_in_subprocess(tmp_path / "model.fp32.tflite", x_ND).outputs
    assert outputs.shape == (3, 6, 6, 5)
    with torch.inference_mode():
        np.testing.assert_allclose(to_torch(outputs), model.module(torch.from_numpy(x_ND)).numpy(), atol=1e-5)
    metadata = read_metadata(tmp_path / "model.tflite")
    assert (metadata.labels, metadata.preprocessing) == ((), None)
    assert not zipfile.is_zipfile(tmp_path / "model.tflite")
    graph = read_graph(tmp_path / "model.tflite")
    assert (graph.inputs[0].name, graph.outputs[0].name) == ("input", "output")


class Attention(nn.Module):
    """Products of two activations are no dense layers, whatever the file calls them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.qkv = nn.Linear(12, 36)
        self.out = nn.Linear(12, 3)

    def forward(self, x_NTD: Tensor) -> Tensor:
        q, k, v = self.qkv(x_NTD).chunk(3, -1)
        y_NTK: Tensor = self.out(torch.softmax(q @ k.transpose(1, 2) / 3.5, -1) @ v)
        return y_NTK


def test_attention_executes_what_was_described(tmp_path: Path) -> None:
    verification = checked(lifted(Attention(), (7, 12)), tmp_path, Precision.FP32)
    figures = {check.name: check for check in verification.checks}
    assert figures["dense operators"].value == 2
    assert figures["MACs"].value == 7 * (12 * 36 + 12 * 3) + 2 * 7 * 7 * 12


def test_a_scale_of_thousands_is_compared_in_units_of_the_largest(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(4, 8, 5, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1))
    with torch.no_grad():
        network[3].weight *= 1e5
    model = lifted(network, (4, 16))
    checked(model, tmp_path)
    with torch.no_grad():
        network[3].bias += 50
    artifact = export(model, precision=Precision.FP32, calibration_N=inputs(model), folder=tmp_path)
    wrong = replace(model, module=nn.Sequential(model.module, AddOffset()).eval())
    with pytest.raises(VerificationError, match="fp32 difference in tolerances"):
        verify(wrong, artifact, inputs(model)[:16], min_agreement=0.9)


class AddOffset(nn.Module):
    def forward(self, y_NK: Tensor) -> Tensor:
        return y_NK + 1e-3 * y_NK.abs().max()


class Padded(nn.Module):
    """In all the ways that a graph may say it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.conv(F.pad(x_NCHW, (1, 2, 0, 1), mode="reflect"))
        y_NCHW = torch.ops.aten.constant_pad_nd.default(y_NCHW, [1, 0], 0.5)
        y_NCHW = torch.ops.aten.pad.default(y_NCHW, [0, 0, 1, 1, 0, 2], "constant", None)
        return y_NCHW + F.pad(y_NCHW, (1, -1), value=2.0)


def test_padding_is_what_torch_makes_of_it(tmp_path: Path) -> None:
    checked(lifted(Padded(), (3, 8, 8)), tmp_path, Precision.FP32)


@pytest.mark.parametrize("layer", ["convolution", "depthwise", "dense"])
def test_a_filter_that_pruning_left_without_weights_keeps_its_bias_in_int8(layer: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = {
        "convolution": nn.Conv2d(4, 4, 3),
        "depthwise": nn.Conv2d(4, 4, 3, groups=4),
        "dense": nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 4)),
    }
    network = nn.Sequential(layers[layer])
    *_, pruned = network.modules()
    with torch.no_grad():
        pruned.weight[1:3] = 0
        pruned.bias[1:3] = torch.tensor([1.0, -0.7])
    model = lifted(network, (4, 6, 6))
    artifact = export(model, precision=Precision.INT8, calibration_N=inputs(model), folder=tmp_path)
    y_N = to_torch(run_in_subprocess(artifact.path, inputs(model)).outputs)
    step = np.abs(y_N).max() / 100
    assert np.abs(y_N[:, 1] - 1).max() < step
    assert np.abs(y_N[:, 2] + 0.7).max() < step


def test_a_pool_padded_on_all_sides_is_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    verification = checked(lifted(nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(3, 2, 1)), (3, 12, 12)), tmp_path)
    assert verification.census["MAX_POOL_2D"] == 1
