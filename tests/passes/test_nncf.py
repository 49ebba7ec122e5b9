"""The pass for int8 ONNX files: what it decides, and that the exporter's file keeps what was judged."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from digits_network import digits, digits_model, model_of
from torch import nn

from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.model import Model, Quantization, Scheme
from edgekit.devices.precision import Precision
from edgekit.devices.target import parse_target
from edgekit.exporters.onnx_file import export_onnx
from edgekit.exporters.onnx_quantization import layers_by_precision
from edgekit.exporters.runner import run_in_subprocess
from edgekit.passes.contract import Context, Samples
from edgekit.passes.nncf import Nncf
from edgekit.passes.registry import make_pass


def context_of(model: Model, calibration: Samples, judging: Samples, deadline: float | None = None) -> Context:
    return Context(
        original=model,
        target=parse_target("rpi4"),
        latency_ms=lambda _operators: 0.0,
        calibration=calibration,
        judging=judging,
        deadline=deadline,
    )


def few(samples: Samples, number: int) -> Samples:
    return Samples(x_N=samples.x_N[:number], y_N=None if samples.y_N is None else samples.y_N[:number])


def with_one_loud_channel(model: Model) -> Model:
    """The same function: one channel of the widest layer's input is 3,000 times larger, and weighs as much less there."""
    module = deepcopy(model.module)
    with torch.no_grad():
        norm, depthwise, wide = (module.get_submodule(name) for name in ("norm", "depthwise", "wide"))
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(depthwise, nn.Conv2d)
        assert isinstance(wide, nn.Conv2d)
        norm.weight[3] *= 3000
        norm.bias[3] *= 3000
        assert depthwise.bias is not None
        depthwise.bias[3] *= 3000
        wide.weight[:, 3] /= 3000
    return replace(model, module=module)


def accuracy(outputs_NK: np.ndarray, samples: Samples) -> float:
    assert samples.y_N is not None
    return float(np.mean(outputs_NK.argmax(axis=1) == samples.y_N.numpy()))


def exported_accuracy(model: Model, calibration: Samples, judging: Samples, folder: Path) -> tuple[float, float]:
    """(fp32, int8) of the files."""
    artifact = export_onnx(model, precision=Precision.FP32, calibration_N=calibration.x_N.numpy(), folder=folder)
    assert artifact.reference is not None
    fp32, int8 = (
        accuracy(run_in_subprocess(one.path, judging.x_N.numpy()).outputs, judging)
        for one in (artifact.reference, artifact)
    )
    return fp32, int8


def test_a_network_that_bears_it_is_int8_throughout() -> None:
    model, (learnt, judging) = digits_model(), digits()
    before = deepcopy(model.module).state_dict()
    calibration, judging = few(learnt, 40), few(judging, 200)
    result = Nncf(max_drop=1.0)(model, context_of(model, calibration, judging))
    assert result.modified
    assert result.model.quantization is not None
    assert result.model.quantization.scheme is Scheme.INT8
    assert not result.model.quantization.kept_float
    assert [row.layer for row in result.layers] == ["stem", "depthwise", "wide", "head"]
    with pytest.raises(ConversionError, match="already"):
        Nncf()(result.model, context_of(model, calibration, judging))
    assert model.quantization is None
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_layers_that_int8_breaks_are_found_and_kept_in_float(tmp_path: Path) -> None:
    model, (learnt, judging) = with_one_loud_channel(digits_model()), digits()
    calibration, judging = few(learnt, 40), few(judging, 200)
    everything = replace(model, quantization=Quantization(scheme=Scheme.INT8))
    fp32, int8 = exported_accuracy(everything, calibration, judging, tmp_path)
    assert fp32 > 0.85
    assert fp32 - int8 > 0.1
    result = Nncf(max_drop=1.0)(model, context_of(model, calibration, judging))
    assert result.model.quantization is not None
    kept = result.model.quantization.kept_float
    assert "wide" in kept
    assert len(kept) < 4
    assert {row.layer for row in result.layers if row.cells["stored as"] == "float32"} == kept
    fp32, int8 = exported_accuracy(result.model, calibration, judging, tmp_path)
    assert fp32 - int8 <= 0.01
    layers = layers_by_precision((tmp_path / "model.onnx").read_bytes())
    assert {name for name, quantised in layers.items() if not quantised} == kept


def regression() -> tuple[Model, Samples]:
    torch.manual_seed(0)
    return model_of(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)), (6,)), Samples(x_N=torch.randn(60, 6))


def test_outputs_without_classes_are_judged_by_their_variance() -> None:
    model, samples = regression()
    result = Nncf(max_drop=30)(model, context_of(model, samples, samples))
    assert result.model.quantization is not None
    assert not result.model.quantization.kept_float


def test_where_time_is_up_nothing_worse_than_allowed_is_returned() -> None:
    model, samples = regression()
    result = Nncf(max_drop=0)(model, context_of(model, samples, samples, deadline=time.monotonic()))
    assert not result.modified
    assert result.model is model
    assert "more than 0" in result.notes[0]
    assert "The time was up before 2 layers" in result.notes[1]


def test_less_than_no_loss_is_refused() -> None:
    model, (learnt, judging) = digits_model(), digits()
    with pytest.raises(UsageError, match="max_drop is -1"):
        make_pass("quant::nncf", {"max_drop": -1})(model, context_of(model, learnt, judging))
