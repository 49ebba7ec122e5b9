"""prune::fedtiny on handwritten digits: exact density, nothing off the mask, resumable, in time, for any output."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from sklearn.datasets import load_digits
from torch import Tensor, fx, nn

from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.model import Model, Preprocessing
from edgekit.devices.target import parse_target
from edgekit.networks.layers import run
from edgekit.passes.contract import Context, Samples
from edgekit.passes.fedtiny import FedTiny
from edgekit.pruning.candidates import FLOW, Draws
from edgekit.pruning.masks import hash_of, kept, prunable


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2, bias=False), nn.BatchNorm2d(16))
        self.linear = nn.Linear(16, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = torch.relu(self.norm1(self.conv1(x_NCHW)))
        y_NCHW = torch.relu(self.norm2(self.conv2(y_NCHW)) + self.shortcut(y_NCHW))
        logits_NK: Tensor = self.linear(y_NCHW.mean((2, 3)))
        return logits_NK


def samples() -> tuple[Samples, Samples]:
    digits = load_digits()
    x_NCHW, y_N = torch.tensor(digits.images).float()[:, None] / 16, torch.tensor(digits.target)
    return Samples(x_N=x_NCHW[:1200], y_N=y_N[:1200]), Samples(x_N=x_NCHW[1200:], y_N=y_N[1200:])


@cache
def trained() -> Model:
    torch.manual_seed(0)
    network, (training, _) = Digits(), samples()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(12):
        for chosen in torch.randperm(len(training)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(training.x_N[chosen]), training.y_N[chosen]).backward()
            optimizer.step()
    return model_of(network, labels=tuple("0123456789"))


def model_of(network: nn.Module, *, labels: tuple[str, ...] = (), shape: tuple[int, ...] = (1, 8, 8)) -> Model:
    return Model(
        module=fx.symbolic_trace(network.eval()),
        input_shape=shape,
        labels=labels,
        preprocessing=Preprocessing(height=8, width=8),
        operators=(),
        output_range=None,
    )


def context_of(model: Model, **changes: object) -> Context:
    training, judging = samples()
    context = Context(
        original=model,
        target=parse_target("rpi4"),
        latency_ms=lambda _operators: 0.0,
        calibration=Samples(x_N=training.x_N[:256]),
        judging=judging,
        training=training,
    )
    return replace(context, **changes)  # type: ignore[arg-type]


def accuracy(module: nn.Module) -> float:
    _, judging = samples()
    assert judging.y_N is not None
    return float((run(module, judging.x_N).argmax(1) == judging.y_N).float().mean())


def test_a_fifth_of_the_weights_still_tells_digits_apart() -> None:
    model = trained()
    before = copy.deepcopy(model.module.state_dict())
    result = FedTiny(density=0.2, candidates=4, epochs=12, adjustments=6)(model, context_of(model))
    module, masks = result.model.module, result.model.masks
    sizes = sum(mask.numel() for mask in masks.values())
    assert kept(masks) == round(0.2 * sizes)
    assert set(masks) == set(prunable(module)) == set(prunable(model.module))
    assert all(not weight[~masks[name]].any() for name, weight in prunable(module).items())
    assert sum(row.cells["kept"] for row in result.layers) == kept(masks)
    assert accuracy(module) > accuracy(model.module) - 0.08
    assert not module.training
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    assert any("no speed-up on this target" in note for note in result.notes)


def test_statistics_are_those_of_the_pruned_network() -> None:
    model = trained()
    result = FedTiny(density=0.3, candidates=1, epochs=1, adjustments=2)(model, context_of(model))
    module, (training, _) = result.model.module, samples()
    first_NCHW = module.conv1(training.x_N)
    assert torch.allclose(module.norm1.running_mean, first_NCHW.mean((0, 2, 3)), atol=0.02)
    assert torch.allclose(module.norm1.running_var, first_NCHW.var((0, 2, 3)), rtol=0.1, atol=1e-3)


def test_the_same_seed_gives_the_same_network_and_another_seed_another() -> None:
    model = trained()
    few = FedTiny(density=0.2, candidates=3, epochs=1, adjustments=3)
    one, two, other = (few(model, context_of(model, seed=seed)).model for seed in (0, 0, 1))
    assert hash_of(one.masks) == hash_of(two.masks) != hash_of(other.masks)
    pairs = zip(one.module.state_dict().values(), two.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_where_the_vote_tells_nothing_flow_is_kept_and_no_training_is_spent_on_trials() -> None:
    model = trained()
    total = sum(weight.numel() for weight in prunable(model.module).values())
    few = FedTiny(density=12 / total, candidates=6, epochs=4, adjustments=0)
    result = few(model, context_of(model))
    assert any("the vote tells nothing" in note for note in result.notes)
    assert hash_of(result.model.masks) == hash_of(Draws.of(model.module, (1, 8, 8), 12 / total).candidate(FLOW).masks)
    many = replace(few, density=0.5)(model, context_of(model))
    assert any("were tried" in note for note in many.notes)


class StopError(Exception):
    pass


def stop_at(text: str) -> Callable[[str], None]:
    def progress(line: str) -> None:
        if text in line:
            raise StopError

    return progress


@pytest.mark.parametrize("clients", [1, 3])
def test_a_broken_course_goes_on_and_ends_as_an_unbroken_one(tmp_path: Path, clients: int) -> None:
    model = trained()
    few = FedTiny(density=0.2, candidates=3, epochs=2, adjustments=3, clients=clients)
    whole = few(model, context_of(model))
    with pytest.raises(StopError):
        few(model, context_of(model, folder=tmp_path, progress=stop_at("round 1 of")))
    with safe_open(tmp_path / "fedtiny.safetensors", "pt") as file:
        assert any(name.startswith("masks/") for name in file.keys())  # noqa: SIM118
    lines: list[str] = []
    resumed = few(model, context_of(model, folder=tmp_path, progress=lines.append))
    assert "round 2 of" in lines[0]
    assert hash_of(resumed.model.masks) == hash_of(whole.model.masks)
    pairs = zip(resumed.model.module.state_dict().values(), whole.model.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_checkpoint_of_other_options_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    model = trained()
    few = FedTiny(density=0.2, candidates=1, epochs=1, adjustments=2)
    few(model, context_of(model, folder=tmp_path))
    lines: list[str] = []
    result = replace(few, density=0.3)(model, context_of(model, folder=tmp_path, progress=lines.append))
    assert "round 1 of" in lines[0]
    assert kept(result.model.masks) == round(0.3 * sum(mask.numel() for mask in result.model.masks.values()))
    (tmp_path / "fedtiny.safetensors").write_bytes(b"damaged")
    lines.clear()
    few(model, context_of(model, folder=tmp_path, progress=lines.append))
    assert "round 1 of" in lines[0]


def test_when_the_time_is_up_the_network_is_valid_at_its_density() -> None:
    model = trained()
    for seconds in (-1.0, 0.5):
        result = FedTiny(density=0.2, epochs=1000)(model, context_of(model, deadline=time.monotonic() + seconds))
        masks = result.model.masks
        assert kept(masks) == round(0.2 * sum(mask.numel() for mask in masks.values()))
        assert all(not one[~masks[name]].any() for name, one in prunable(result.model.module).items())
        assert any("The time was up" in note for note in result.notes)
        assert torch.isfinite(run(result.model.module, samples()[1].x_N)).all()


def test_several_clients_together_learn_as_well() -> None:
    model = trained()
    result = FedTiny(density=0.3, candidates=3, epochs=12, adjustments=4, clients=3)(model, context_of(model))
    assert accuracy(result.model.module) > accuracy(model.module) - 0.12


def test_without_labels_the_network_before_is_the_teacher() -> None:
    model = trained()
    training, _ = samples()
    context = context_of(model, training=None, calibration=Samples(x_N=training.x_N))
    result = FedTiny(density=0.3, candidates=4, epochs=5, adjustments=4)(model, context)
    assert accuracy(result.model.module) > accuracy(model.module) - 0.1


def test_outputs_that_are_no_classes_are_kept() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    model = model_of(network)
    training, judging = samples()
    context = context_of(model, training=Samples(x_N=training.x_N))
    few = FedTiny(density=0.5, candidates=4, epochs=5, adjustments=4)
    pruned = few(model, context).model.module
    untrained = replace(few, epochs=0)(model, context).model.module
    expected = run(model.module, judging.x_N)

    def error(module: nn.Module) -> float:
        return float((run(module, judging.x_N) - expected).square().mean() / expected.var())

    assert error(pruned) < min(0.2, error(untrained) / 2)


def test_what_cannot_be_pruned_is_refused_and_so_are_options_outside_their_range() -> None:
    model = model_of(nn.Sequential(nn.ReLU()))
    with pytest.raises(ConversionError, match="no convolution or linear layer"):
        FedTiny()(model, context_of(model))
    for wrong in ({"density": 0.0}, {"density": 1.5}, {"candidates": 0}, {"batch": 1}, {"exchange": 2.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            FedTiny(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot be kept"):
        FedTiny(density=1e-4)(trained(), context_of(trained()))
    with pytest.raises(UsageError, match="1200 samples for 700 clients"):
        FedTiny(clients=700)(trained(), context_of(trained()))
