"""The pass on small networks: what it promises of each layer, seen from outside."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.model import Model, Preprocessing
from edgekit.devices.target import parse_target
from edgekit.networks.layers import layers_of, run
from edgekit.passes.contract import Context, PassResult, Samples
from edgekit.passes.net_trim import Mode, NetTrim, Spread
from edgekit.passes.registry import make_pass


class Net(nn.Module):
    """Convolution, normalisation and ReLU; a grouped and a plain convolution; two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2)
        self.relu2 = nn.ReLU()
        self.flatten = nn.Flatten()
        self.linear1 = nn.Linear(12 * 9, 16)
        self.relu3 = nn.ReLU()
        self.linear2 = nn.Linear(16, 4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.depthwise(self.relu1(self.bn1(self.conv1(x_NCHW))))
        y_ND = self.relu3(self.linear1(self.flatten(self.relu2(self.conv2(y_NCHW)))))
        logits_NK: Tensor = self.linear2(y_ND)
        return logits_NK


PRUNED = ("conv1", "conv2", "linear1", "linear2")


def model_of(module: nn.Module) -> Model:
    return Model(
        module=fx.symbolic_trace(module.eval()),
        input_shape=(3, 8, 8),
        labels=(),
        preprocessing=Preprocessing(height=8, width=8),
        operators=(),
        output_range=None,
    )


@pytest.fixture
def model() -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net()
        with torch.no_grad():
            net.bn1.running_mean.normal_()
            net.bn1.running_var.uniform_(0.5, 2)
            net.bn1.weight.copy_(torch.tensor([1.0, -1.0, 0.5, 2.0, 0.0, 1.0, 1.0, -0.3]))
            net.bn1.bias.normal_()
    return model_of(net)


def context_of(model: Model, **changed: Any) -> Context:
    x_N = torch.randn(80, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    given: dict[str, Any] = {
        "original": model,
        "target": parse_target("rpi4"),
        "latency_ms": lambda _operators: 0.0,
        "calibration": Samples(x_N=x_N),
        "judging": Samples(x_N=x_N),
    }
    return Context(**{**given, **changed})


def trimmed(model: Model, context: Context | None = None, **options: Any) -> PassResult:
    return NetTrim(**{"samples": 400, "reweightings": 0, "recalibrate": False, **options})(
        model, context or context_of(model)
    )


def output_of(module: nn.Module, name: str, x_N: Tensor) -> Tensor:
    outputs: list[Tensor] = []
    handle = module.get_submodule(name).register_forward_hook(lambda _module, _given, y: outputs.append(y))
    run(module, x_N)
    handle.remove()
    return outputs[0]


def test_outputs_of_the_first_layer_are_off_by_no_more_than_the_gain(model: Model) -> None:
    """All pixels of all images are solved on, so that the certificate speaks of the layer's outputs as a user sees them."""
    context = context_of(model)
    result = trimmed(model, context, gain=0.2, samples=80 * 64, mode=Mode.PARALLEL)
    before, after = (output_of(one.module, "relu1", context.calibration.x_N) for one in (model, result.model))
    assert 0 < float((after - before).norm()) <= 0.2 * 1.001 * float(before.norm()) + 1e-6
    (row,) = (row for row in result.layers if row.layer == "conv1")
    assert row.cells["certificate"] == "yes"
    assert row.cells["sparsity"] > 0.2


def test_every_layer_is_certified_masked_and_counted(model: Model) -> None:
    result = trimmed(model, sparsity=0.6)
    assert tuple(row.layer for row in result.layers) == PRUNED
    parameters = dict(result.model.module.named_parameters())
    for row in result.layers:
        names = [name for name in result.model.masks if name.startswith(f"{row.layer}.")]
        kept = sum(int((parameters[name] != 0).sum()) for name in names)
        assert row.cells["certificate"] == "yes"
        assert row.cells["non-zeros"] == kept
        # 80 images do not determine a layer of 109 inputs: many solutions are as good, and not as sparse.
        assert row.cells["sparsity"] == pytest.approx(0.6, abs=0.12)
    for name, mask in result.model.masks.items():
        assert torch.equal(parameters[name] != 0, mask)
    assert any("depthwise" in note for note in result.notes)
    assert result.model.operators


def test_zeros_shared_out_by_erk_spare_small_layers(model: Model) -> None:
    result = trimmed(model, sparsity=0.8, spread=Spread.ERK)
    layers = {layer.name: layer.module.weight for layer in layers_of(result.model.module)}  # type: ignore[arg-type]
    zeros = {name: float((weight == 0).float().mean()) for name, weight in layers.items()}
    small, large = (
        min(layers, key=lambda name: layers[name].numel()),
        max(layers, key=lambda name: layers[name].numel()),
    )
    assert zeros[small] < zeros[large]
    total = sum(weight.numel() for weight in layers.values())
    assert sum(int((weight == 0).sum()) for weight in layers.values()) / total == pytest.approx(0.8, abs=0.05)


def test_the_model_it_is_given_stays_and_the_same_seed_gives_the_same(model: Model) -> None:
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    one, other = (trimmed(model, gain=0.3) for _ in range(2))
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name])
    for name, value in one.model.module.state_dict().items():
        assert torch.equal(value, other.model.module.state_dict()[name])


def test_a_cascade_makes_up_for_the_layers_before(model: Model) -> None:
    context = context_of(model)
    x_N = context.calibration.x_N
    expected_NK = run(model.module, x_N)
    off = {
        mode: float(
            (run(trimmed(model, context, sparsity=0.6, mode=mode, samples=1000).model.module, x_N) - expected_NK).norm()
        )
        for mode in Mode
    }
    assert off[Mode.CASCADE] < off[Mode.PARALLEL]


def test_zeros_of_an_earlier_pass_stay(model: Model) -> None:
    once = trimmed(model, gain=0.2).model
    twice = trimmed(once, gain=0.3).model
    for name, mask in once.masks.items():
        assert not bool((twice.masks[name] & ~mask).any())


def test_a_deadline_leaves_the_other_layers_as_they_were(model: Model) -> None:
    result = trimmed(model, context_of(model, deadline=time.monotonic() - 1))
    assert not result.modified
    assert result.layers == ()
    assert torch.equal(run(result.model.module, torch.ones(1, 3, 8, 8)), run(model.module, torch.ones(1, 3, 8, 8)))
    assert any("time was up" in note for note in result.notes)


def test_recalibration_sets_the_statistics(model: Model) -> None:
    result = trimmed(model, gain=0.05, recalibrate=True)
    assert not torch.equal(result.model.module.bn1.running_mean, model.module.bn1.running_mean)


@pytest.mark.parametrize("wrong", [{"gain": 0.0}, {"sparsity": 1.0}, {"samples": 0}, {"reweightings": -1}])
def test_options_out_of_range_are_refused(model: Model, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        trimmed(model, **wrong)


def test_options_come_from_a_recipe() -> None:
    assert make_pass("prune::net_trim", {"mode": "parallel", "sparsity": 0.5}) == NetTrim(
        mode=Mode.PARALLEL, sparsity=0.5
    )


def test_a_network_without_such_layers_is_refused() -> None:
    with pytest.raises(ConversionError, match="no layer"):
        trimmed(model_of(nn.Sequential(nn.ReLU())))
