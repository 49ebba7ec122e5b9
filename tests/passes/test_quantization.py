"""Small networks of which it is known what quantization does to them, exported and run."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.fidelity import reproduced
from edgekit.core.model import Model, Quantization, Scheme
from edgekit.devices.precision import Precision
from edgekit.devices.target import parse_target
from edgekit.exporters.layout import to_file
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import export
from edgekit.exporters.tflite_graph import read_graph
from edgekit.exporters.verify import verify
from edgekit.networks.description import describe
from edgekit.networks.layers import run
from edgekit.passes.contract import Context, Samples
from edgekit.passes.quantization import Int4Weights, Int8


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


def context_of(model: Model, *, deadline: float | None = None) -> Context:
    """Inputs from quiet to loud."""
    generator = torch.Generator().manual_seed(1)
    x_N = torch.randn(192, *model.input_shape, generator=generator)
    x_N *= 4 * torch.rand(192, *[1] * len(model.input_shape), generator=generator)
    return Context(
        original=model,
        target=parse_target("rpi4"),
        latency_ms=lambda _operators: 0.0,
        calibration=Samples(x_N=x_N[:64]),
        judging=Samples(x_N=x_N[64:]),
        deadline=deadline,
    )


def exported_outputs(model: Model, context: Context, folder: Path) -> tuple[np.ndarray, Path]:
    calibration_N = to_file(context.calibration.x_N.numpy())
    artifact = export(model, precision=Precision.FP32, calibration_N=calibration_N, folder=folder)
    verify(model, artifact, calibration_N, min_agreement=0.8, min_cosine=0.9, min_reproduced=0.7)
    return run_in_subprocess(artifact.path, to_file(context.judging.x_N.numpy())).outputs, artifact.path


class OneLoudChannel(nn.Module):
    """`wide` gives one channel a thousand times the range of the others, of which `head` makes next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(2, 8, 3, 1, 1)
        self.relu = nn.ReLU()
        self.calm = nn.Conv2d(8, 8, 3, 2, 1)
        self.wide = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8 * 16, 1)
        with torch.no_grad():
            self.wide.weight[0] *= 1000
            self.head.weight[:, :16] = 0

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.wide(self.relu(self.calm(self.relu(self.stem(x_NCHW)))))
        y_N1: Tensor = self.head(torch.flatten(y_NCHW, 1))
        return y_N1


def test_a_layer_with_one_loud_channel_stays_in_float_and_others_do_not(tmp_path: Path) -> None:
    model = lifted(OneLoudChannel(), (2, 8, 8))
    context = context_of(model)
    result = Int8(max_drop=1.0)(model, context)
    quantization = result.model.quantization
    assert quantization is not None
    assert quantization.kept_float == {"wide", "head"}
    snr = {row.layer: row.cells["output SNR alone (dB)"] for row in result.layers}
    assert list(snr) == ["stem", "calm", "wide", "head"]
    assert max(snr["wide"], snr["head"]) < min(snr["stem"], snr["calm"])
    reference_N = run(model.module, context.judging.x_N).numpy()
    outputs_N, path = exported_outputs(result.model, context, tmp_path / "mixed")
    assert reproduced(outputs_N, reference_N) > 0.99
    dtypes = read_graph(path).dtypes
    assert min(dtypes["int8"], dtypes["float32"]) >= 2
    whole = replace(model, quantization=Quantization(scheme=Scheme.INT8))
    with pytest.raises(Exception, match="int8 variance reproduced"):
        exported_outputs(whole, context, tmp_path / "whole")


class Separable(nn.Module):
    """An odd number of channels, so that two weights of 4 bits in a byte belong to different rows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 11, 3, 2, 1)
        self.depthwise = nn.Conv2d(11, 11, 3, 1, 1, groups=11)
        self.point = nn.Conv2d(11, 13, 1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(13, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.relu(self.point(self.relu(self.depthwise(self.relu(self.stem(x_NCHW))))))
        y_N1: Tensor = self.head(y_NCHW.mean((2, 3)))
        return y_N1


@pytest.fixture(scope="module")
def separable() -> Model:
    return lifted(Separable(), (3, 12, 12))


def test_an_easy_network_becomes_integers_whole_even_when_time_has_ended(separable: Model, tmp_path: Path) -> None:
    context = context_of(separable, deadline=time.monotonic())
    before = {name: value.clone() for name, value in separable.module.state_dict().items()}
    result = Int8(max_drop=5.0)(separable, context)
    assert result.model.quantization == Quantization(scheme=Scheme.INT8)
    assert result.layers == ()
    assert "The time was up after 0 of 4 layers" in result.notes[0]
    assert separable.quantization is None
    assert all(torch.equal(value, before[name]) for name, value in separable.module.state_dict().items())
    _, path = exported_outputs(result.model, context, tmp_path)
    assert "float32" not in read_graph(path).dtypes


def test_weights_of_four_bits_are_executed_and_a_depthwise_layer_stays_in_float(
    separable: Model, tmp_path: Path
) -> None:
    context = context_of(separable)
    result = Int4Weights(max_drop=20.0)(separable, context)
    quantization = result.model.quantization
    assert quantization is not None
    assert quantization.scheme is Scheme.INT4_WEIGHTS
    assert "depthwise" in quantization.kept_float
    assert "depthwise" in result.notes[0]
    outputs_N, path = exported_outputs(result.model, context, tmp_path)
    graph = read_graph(path)
    assert graph.dtypes["int4"] == 4 - len(quantization.kept_float)
    assert (graph.inputs[0].dtype, graph.outputs[0].dtype) == ("float32", "float32")
    reference_N = run(separable.module, context.judging.x_N).numpy()
    assert reproduced(outputs_N, reference_N) >= 0.8
    assert len(quantization.kept_float) < 4


def test_a_floor_that_no_integers_keep_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = lifted(nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 1)), (20,))
    result = Int8(max_drop=0.0)(model, context_of(model))
    assert (result.model, result.modified) == (model, False)
    assert "stays as it was" in result.notes[-1]
    assert [row.cells["stored as"] for row in result.layers] == ["float32", "float32"]


def test_a_model_is_quantised_once(separable: Model) -> None:
    twice = replace(separable, quantization=Quantization(scheme=Scheme.INT8))
    with pytest.raises(ConversionError, match="already"):
        Int4Weights()(twice, context_of(separable))


def test_a_drop_below_nothing_is_refused(separable: Model) -> None:
    with pytest.raises(UsageError, match="-1 points"):
        Int8(max_drop=-1.0)(separable, context_of(separable))


def test_a_layer_that_the_file_does_not_have_cannot_be_kept(separable: Model, tmp_path: Path) -> None:
    wrong = replace(separable, quantization=Quantization(scheme=Scheme.INT8, kept_float=frozenset({"nowhere"})))
    with pytest.raises(ConversionError, match="no layer nowhere"):
        exported_outputs(wrong, context_of(separable), tmp_path)
