"""Fine-tuning by a teacher, on networks for the digits of scikit-learn."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, fx, nn

from edgekit.core.errors import UsageError
from edgekit.core.model import Model, Preprocessing
from edgekit.devices.target import parse_target
from edgekit.networks.layers import run
from edgekit.passes.contract import Context, Samples
from edgekit.passes.distillation import Distil
from edgekit.passes.picture_augmentation import picture_augmentation

QUICK = Distil(epochs=6, batch=64, learning_rate=0.01)


def network(*, head: tuple[nn.Module, ...] = ()) -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(
        nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 10),
            *head,
        ).eval()
    )


def model_of(module: nn.Module) -> Model:
    return Model(
        module=module,
        input_shape=(1, 8, 8),
        labels=tuple("0123456789"),
        preprocessing=Preprocessing(height=8, width=8),
        operators=(),
    )


@pytest.fixture(scope="module")
def digits() -> tuple[Samples, Samples]:
    x, y = load_digits(return_X_y=True)
    x_NCHW, y_N = torch.from_numpy(x).float().view(-1, 1, 8, 8) / 16, torch.from_numpy(y)
    return Samples(x_N=x_NCHW[:1200], y_N=y_N[:1200]), Samples(x_N=x_NCHW[1200:], y_N=y_N[1200:])


@pytest.fixture(scope="module")
def teacher(digits: tuple[Samples, Samples]) -> Model:
    """Trained by the pass itself, on labels alone."""
    untrained = model_of(network())
    taught = Distil(epochs=8, batch=64, learning_rate=0.01, label_weight=1.0)(untrained, context(untrained, digits))
    return taught.model


def context(original: Model, digits: tuple[Samples, Samples]) -> Context:
    training, judging = digits
    return Context(
        original=original,
        target=parse_target("rpi4"),
        latency_ms=lambda _operators: 1.0,
        calibration=Samples(x_N=training.x_N[:256]),
        judging=judging,
        training=training,
    )


def accuracy(model: Model, samples: Samples) -> float:
    assert samples.y_N is not None
    return (run(model.module, samples.x_N).argmax(1) == samples.y_N).float().mean().item()


def pruned(model: Model, density: float) -> Model:
    """The largest weights of the second convolution and the last layer remain."""
    module = copy.deepcopy(model.module)
    masks = {}
    for name in ("4.weight", "8.weight"):
        weight = module.get_parameter(name)
        mask = weight.abs() >= weight.abs().flatten().quantile(1 - density)
        weight.data.mul_(mask)
        masks[name] = mask
    return replace(model, module=module, masks=masks)


def weights(model: Model) -> dict[str, Tensor]:
    return dict(model.module.state_dict())


def test_a_network_learns_from_labels(teacher: Model, digits: tuple[Samples, Samples]) -> None:
    assert accuracy(teacher, digits[1]) > 0.9


@pytest.mark.parametrize("features", [0.0, 1.0])
def test_accuracy_comes_back_and_pruned_weights_stay_zero(
    features: float, teacher: Model, digits: tuple[Samples, Samples]
) -> None:
    model = pruned(teacher, 0.1)
    before = copy.deepcopy(weights(model))
    result = replace(QUICK, features=features)(model, context(teacher, digits))
    assert result.modified
    assert accuracy(result.model, digits[1]) > accuracy(model, digits[1]) + 0.05
    for name, mask in model.masks.items():
        weight = result.model.module.get_parameter(name)
        assert not weight[~mask].any()
        assert weight[mask].all()
    assert all(torch.equal(weights(model)[name], value) for name, value in before.items())


def test_without_labels_the_teacher_is_enough(teacher: Model, digits: tuple[Samples, Samples]) -> None:
    training, judging = digits
    unlabelled = replace(context(teacher, digits), training=Samples(x_N=training.x_N), judging=Samples(x_N=judging.x_N))
    model = pruned(teacher, 0.1)
    result = QUICK(model, unlabelled)
    assert accuracy(result.model, judging) > accuracy(model, judging) + 0.05
    assert "like the original" in result.notes[0]


@pytest.mark.parametrize(
    "head", [(nn.Softmax(1),), (nn.Unflatten(1, (2, 5)),)], ids=["probabilities", "a tensor of another shape"]
)
def test_other_outputs_come_closer_to_the_teachers(
    head: tuple[nn.Module, ...], teacher: Model, digits: tuple[Samples, Samples]
) -> None:
    module = network(head=head)
    module.load_state_dict(teacher.module.state_dict())
    original = model_of(module)
    model = pruned(original, 0.1)
    result = QUICK(model, context(original, digits))
    wanted, before, after = (run(one.module, digits[1].x_N) for one in (original, model, result.model))
    assert (after - wanted).square().mean() < 0.5 * (before - wanted).square().mean()


def test_a_stopped_training_goes_on_to_the_same_weights(
    teacher: Model, digits: tuple[Samples, Samples], tmp_path: Path
) -> None:
    model = pruned(teacher, 0.1)
    mixed = Distil(epochs=6, batch=64, learning_rate=0.01, mix=0.5)
    whole = mixed(model, context(teacher, digits))
    rests = 0
    while True:
        clock = count().__next__  # it moves on when it is looked at, as before each step
        stopped = mixed(model, replace(context(teacher, digits), folder=tmp_path, deadline=20, clock=clock))
        if "time limit" not in stopped.notes[0]:
            break
        rests += 1
    assert rests > 0
    for name, value in weights(whole.model).items():
        torch.testing.assert_close(weights(stopped.model)[name], value, rtol=1e-4, atol=1e-5)
    (checkpoint,) = tmp_path.iterdir()
    assert checkpoint.suffix == ".safetensors"


def test_two_trainings_are_the_same(teacher: Model, digits: tuple[Samples, Samples]) -> None:
    model = pruned(teacher, 0.2)
    one, other = (Distil(epochs=1)(model, context(teacher, digits)).model for _ in range(2))
    assert all(torch.equal(weights(one)[name], value) for name, value in weights(other).items())


def test_a_model_that_training_does_not_help_stays_as_it_is(teacher: Model, digits: tuple[Samples, Samples]) -> None:
    result = Distil(epochs=1)(teacher, replace(context(teacher, digits), deadline=time.monotonic()))
    assert not result.modified
    assert result.model is teacher


def test_options_and_data_are_checked(teacher: Model, digits: tuple[Samples, Samples]) -> None:
    with pytest.raises(UsageError, match="learning_rate"):
        Distil(learning_rate=0)
    with pytest.raises(UsageError, match="train with"):
        Distil()(teacher, replace(context(teacher, digits), training=None))


def test_pictures_are_changed_within_the_range_of_pictures() -> None:
    preprocessing = Preprocessing(height=16, width=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    mean, std = (torch.tensor(one)[:, None, None] for one in (preprocessing.mean, preprocessing.std))
    x_NCHW = (torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)) - mean) / std
    augment = picture_augmentation(preprocessing)
    one, same, other = (augment(x_NCHW, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    pixels = one * std + mean
    assert pixels.min() > -1e-6
    assert pixels.max() < 1 + 1e-6
