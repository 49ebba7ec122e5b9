"""Channels removed from networks of many forms, and what the rest of them answers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.model import Model, Preprocessing
from edgekit.core.operators import Operator
from edgekit.devices.target import parse_target
from edgekit.networks.description import describe
from edgekit.networks.layers import batches, recalibrate, run
from edgekit.passes.channel_groups import Channels, sound
from edgekit.passes.channel_reconstruction import eliminate, eliminations, measure
from edgekit.passes.channels import Allocation, Importance, PruneChannels
from edgekit.passes.contract import Context, Samples
from edgekit.passes.distillation import Distil

SHAPE = (1, 8, 8)


def conv(channels_in: int, channels: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, padding="same", groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.Hardswish(),
    )


class Plain(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            conv(1, 16),
            nn.MaxPool2d(2),
            conv(16, 16),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 24),
            nn.ReLU(),
            nn.Linear(24, 10),
        )


class PaddedShortcut(nn.Module):
    """With shortcuts of option A: a strided slice, and channels of zeros on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = conv(1, 8), conv(8, 16)
        self.second = nn.Conv2d(16, 16, 3, 2, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.stem(x_NCHW)
        y_NCHW = self.second(self.first(x_NCHW))
        y_NCHW = torch.relu(y_NCHW + F.pad(x_NCHW[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        logits_NK: Tensor = self.head(y_NCHW.mean((2, 3)))
        return logits_NK


class SqueezeAndExcite(nn.Module):
    """An inverted bottleneck whose depthwise channels are gated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand, self.depthwise = conv(1, 8), conv(8, 24, 1), conv(24, 24, 3, groups=24)
        self.reduce, self.gate, self.project = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 24, 1), nn.Conv2d(24, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.stem(x_NCHW)
        y_NCHW = self.depthwise(self.expand(x_NCHW))
        gate_NC11 = torch.sigmoid(self.gate(torch.relu(self.reduce(y_NCHW.mean((2, 3), keepdim=True)))))
        x_NCHW = x_NCHW + self.project(y_NCHW * gate_NC11)
        logits_NK: Tensor = self.head(x_NCHW.mean((2, 3)))
        return logits_NK


class Concatenated(nn.Module):
    """Two branches side by side, then half of the channels each on their own way."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.both = conv(1, 8), conv(1, 16), conv(24, 16)
        self.one, self.other = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.both(torch.cat([self.left(x_NCHW), self.right(x_NCHW)], 1))
        one_NCHW, other_NCHW = torch.split(y_NCHW, 8, 1)
        y_NCHW = self.one(one_NCHW) * self.other(other_NCHW)
        logits_NK: Tensor = self.head(y_NCHW.mean((2, 3)))
        return logits_NK


class WrittenSizes(nn.Module):
    """A size of 16 channels is written into the graph; those of `inner` are nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer, self.head = conv(1, 16), conv(16, 16), nn.Linear(16 * 4, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = F.max_pool2d(self.outer(self.inner(x_NCHW)), 4)
        logits_NK: Tensor = self.head(y_NCHW.view(-1, 16, 2, 2).transpose(1, 2).reshape(-1, 64))
        return logits_NK


NETWORKS = (Plain, PaddedShortcut, SqueezeAndExcite, Concatenated, WrittenSizes)


def traced(network: Callable[[], nn.Module], seed: int = 0) -> fx.GraphModule:
    """With normalisation statistics that are not those of new layers."""
    torch.manual_seed(seed)
    module = network().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low in (
                (layer.running_mean, -0.5),
                (layer.running_var, 0.5),
                (layer.weight, 0.5),
                (layer.bias, -0.5),
            ):
                nn.init.uniform_(values, low, low + 1)  # type: ignore[arg-type]
    return fx.symbolic_trace(module)


def model_of(module: nn.Module) -> Model:
    return Model(
        module=module,
        input_shape=SHAPE,
        labels=tuple("0123456789"),
        preprocessing=Preprocessing(height=8, width=8),
        operators=describe(module, SHAPE).operators,
        output_range=None,
    )


def macs(operators: tuple[Operator, ...]) -> int:
    return sum(operator.macs for operator in operators)


@pytest.fixture(scope="module")
def digits() -> tuple[Samples, Samples]:
    x, y = load_digits(return_X_y=True)
    x_NCHW, y_N = torch.from_numpy(x).float().view(-1, 1, 8, 8) / 16, torch.from_numpy(y)
    return Samples(x_N=x_NCHW[:1200], y_N=y_N[:1200]), Samples(x_N=x_NCHW[1200:], y_N=y_N[1200:])


def context(model: Model, digits: tuple[Samples, Samples]) -> Context:
    training, judging = digits
    return Context(
        original=model,
        target=parse_target("rpi4"),
        latency_ms=lambda operators: macs(tuple(operators)) / 1e6,
        calibration=Samples(x_N=training.x_N[:512]),
        judging=judging,
        training=training,
    )


@pytest.fixture(scope="module")
def trained(digits: tuple[Samples, Samples]) -> Model:
    model = model_of(traced(Plain))
    return Distil(epochs=4, batch=64, learning_rate=0.01, label_weight=1.0)(model, context(model, digits)).model


def accuracy(model: Model, samples: Samples) -> float:
    assert samples.y_N is not None
    return (run(model.module, samples.x_N).argmax(1) == samples.y_N).float().mean().item()


@settings(max_examples=10, deadline=None)
@given(network=st.sampled_from(NETWORKS), seed=st.integers(0, 1000), data=st.data())
def test_removed_channels_leave_what_silent_ones_would(
    network: Callable[[], nn.Module], seed: int, data: st.DataObject
) -> None:
    module = traced(network, seed)
    without, silent = (Channels(copy.deepcopy(module), SHAPE) for _ in range(2))
    for group in sound(module, SHAPE, without.groups()):
        gone = data.draw(st.lists(st.integers(0, group.channels - 1), unique=True, max_size=group.channels - 1))
        silent.silence(group.root, gone)
        without.remove(group.root, gone)
    x_NCHW = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(run(without.module, x_NCHW), run(silent.module, x_NCHW), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "roots"),
    [
        (Plain, {"0.0", "2.0", "5"}),
        (PaddedShortcut, {"first.0"}),
        (SqueezeAndExcite, {"stem.0", "expand.0", "reduce"}),
        (WrittenSizes, {"inner.0"}),
    ],
)
def test_channels_are_removed_only_where_the_graph_bears_it(network: Callable[[], nn.Module], roots: set[str]) -> None:
    """Those of the last layer nowhere; shifted ones and those whose number is written into the graph stay."""
    module = traced(network)
    groups = sound(module, SHAPE, Channels(copy.deepcopy(module), SHAPE).groups())
    names = {member.name for group in groups for member in group.writers}
    assert roots <= names
    if network is not SqueezeAndExcite:
        assert names == roots


def test_networks_of_all_forms_are_pruned_and_refitted(digits: tuple[Samples, Samples]) -> None:
    """On the whole closer to the unpruned networks than without the refit."""
    errors = {False: 0.0, True: 0.0}
    for network in NETWORKS:
        module = traced(network)
        recalibrate(module, batches(digits[0].x_N[:1024]))
        model = model_of(module)
        wanted_N = run(model.module, digits[1].x_N)
        for refit in errors:
            options = PruneChannels(keep=0.5, multiple=4, importance=Importance.L2, refit=refit)
            result = options(model, context(model, digits))
            assert macs(result.model.operators) < macs(model.operators)
            answers_N = run(result.model.module, digits[1].x_N)
            errors[refit] += ((answers_N - wanted_N).square().mean() / wanted_N.var(0).mean()).item()
    assert errors[True] < errors[False]


def test_refitted_weights_are_those_of_least_squares(digits: tuple[Samples, Samples]) -> None:
    """NumPy's solution over the channels that are left, of answers by those that were there."""
    module = fx.symbolic_trace(nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)))
    x_ND = digits[0].x_N.flatten(1)
    group = Channels(copy.deepcopy(module), (64,)).groups()[0]
    moments = measure(module, [group.readers[0].name], x_ND).moments
    (one,) = eliminations(group, module, moments)
    hidden_ND = torch.relu(module.get_submodule("0")(x_ND)).detach()
    wanted_NK = module(x_ND).detach()
    as_it_was = module.get_parameter("2.weight").detach().clone()
    one.write()
    torch.testing.assert_close(module.get_parameter("2.weight").detach(), as_it_was, rtol=1e-3, atol=1e-4)
    gone, costs = eliminate([one], 12, 5)
    one.write()
    left = [channel for channel in range(12) if channel not in gone]
    features = np.hstack([hidden_ND[:, left].double().numpy(), np.ones((len(x_ND), 1))])
    solution, residual, *_ = np.linalg.lstsq(features, wanted_NK.double().numpy(), rcond=None)
    layer = module.get_submodule("2")
    np.testing.assert_allclose(layer.weight.detach()[:, left].T, solution[:-1], atol=2e-3)  # type: ignore[union-attr,index]
    np.testing.assert_allclose(layer.bias.detach(), solution[-1], atol=2e-3)  # type: ignore[union-attr,arg-type,operator]
    variance = (wanted_NK - wanted_NK.mean(0)).square().sum().item()
    assert sum(costs) == pytest.approx(residual.sum() / variance, rel=0.02, abs=1e-4)


def test_a_refit_saves_accuracy(trained: Model, digits: tuple[Samples, Samples]) -> None:
    accuracies = {
        refit: accuracy(
            PruneChannels(importance=Importance.L1, refit=refit)(trained, context(trained, digits)).model, digits[1]
        )
        for refit in (False, True)
    }
    assert accuracies[True] > accuracies[False]


@pytest.mark.parametrize("importance", Importance)
def test_channels_go_down_to_the_wanted_macs(
    importance: Importance, trained: Model, digits: tuple[Samples, Samples]
) -> None:
    before = copy.deepcopy(trained.module.state_dict())
    result = PruneChannels(macs_share=0.5, importance=importance, multiple=4)(trained, context(trained, digits))
    assert macs(result.model.operators) == macs(describe(result.model.module, SHAPE).operators)
    assert 0.2 * macs(trained.operators) < macs(result.model.operators) <= 0.5 * macs(trained.operators)
    assert sum(float(row.cells["MACs after"]) for row in result.layers) <= macs(result.model.operators)
    for row in result.layers:
        if "channels after" in row.cells:
            layer = result.model.module.get_submodule(row.layer)
            assert len(layer.weight) == row.cells["channels after"]  # type: ignore[arg-type]
            assert len(layer.weight) % 4 == 0  # type: ignore[arg-type]
    assert run(result.model.module, digits[1].x_N).shape == (len(digits[1]), 10)
    assert all(torch.equal(value, before[name]) for name, value in trained.module.state_dict().items())


def test_measured_losses_allocate_as_well(trained: Model, digits: tuple[Samples, Samples]) -> None:
    options = PruneChannels(macs_share=0.5, allocation=Allocation.MEASURED)
    around = context(trained, digits)
    result = options(trained, around)
    assert macs(result.model.operators) <= 0.5 * macs(trained.operators)
    assert accuracy(result.model, digits[1]) > 0.6
    assert "time limit" in options(trained, replace(around, deadline=0.0)).notes[0]


def test_masks_lose_the_channels_that_weights_lose(trained: Model, digits: tuple[Samples, Samples]) -> None:
    module = copy.deepcopy(trained.module)
    weight = module.get_parameter("2.0.weight")
    mask = weight.abs() > weight.abs().median()
    weight.data.mul_(mask)
    model = replace(trained, module=module, masks={"2.0.weight": mask})
    result = PruneChannels(keep=0.5)(model, context(trained, digits))
    pruned = result.model.module.get_parameter("2.0.weight")
    assert pruned.shape == (8, 8, 3, 3)
    assert torch.equal(result.model.masks["2.0.weight"], pruned != 0)


def test_what_cannot_be_reached_is_said(trained: Model, digits: tuple[Samples, Samples]) -> None:
    with pytest.raises(ConversionError, match="cannot go below"):
        PruneChannels(macs_share=0.01)(trained, context(trained, digits))
    with pytest.raises(ConversionError, match="graph"):
        PruneChannels()(replace(trained, module=Plain()), context(trained, digits))
    with pytest.raises(UsageError, match="multiple"):
        PruneChannels(multiple=0)
