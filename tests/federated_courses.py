"""A course of clients with a few handwritten digits each, small enough to run within a second."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, fx, nn

from edgekit.federated.client import LocalSamples, Studied
from edgekit.federated.course import Course
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import simulated
from edgekit.federated.simulator import Simulator
from edgekit.federated.transport import Kind
from edgekit.pruning.masked_training import train_masked
from edgekit.pruning.masks import Masks, prunable
from edgekit.pruning.targets import Answers

SHAPE = (1, 8, 8)
LABELS = tuple(map(str, range(10)))
SETTINGS = Settings(density=0.3, rounds=4, per_round=4, batch=16, candidates=3, interval=1, learning_rate=0.05)


class Residual(nn.Module):
    """Normalisation of two kinds of names: a residual sum's is not called so."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.block = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.downsample = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = torch.relu(self.norm(self.stem(x_NCHW)))
        y_NCHW = torch.relu(self.block(y_NCHW) + self.downsample(y_NCHW))
        z_NK: Tensor = self.head(nn.functional.max_pool2d(y_NCHW, 2).flatten(1))
        return z_NK


@cache
def digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    x_NCHW = torch.from_numpy((found.images / 16).astype(np.float32))[:, None]
    return x_NCHW, torch.from_numpy(found.target.astype(np.int64))


@cache
def _trained() -> fx.GraphModule:
    torch.manual_seed(0)
    module = fx.symbolic_trace(Residual())
    x_N, y_N = digits()
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(module).items()}
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0)).split(32)
    steps = [
        (0.1, lambda one, some=some: nn.functional.cross_entropy(one(x_N[some]), y_N[some]))
        for _ in range(3)
        for some in order
    ]
    train_masked(module, masks, {}, steps)
    return module


def network() -> fx.GraphModule:
    """Trained for a moment on the first 600 digits."""
    return copy.deepcopy(_trained())


def samples(first: int, last: int) -> LocalSamples:
    x_N, y_N = digits()
    return LocalSamples(x_N=x_N[first:last], y_N=y_N[first:last])


def studied() -> Studied:
    return Studied(module=network(), size=8, mean_std=None, labels=LABELS, answers=Answers.LOGITS)


def clients(number: int = 4, **changed: object) -> Simulator:
    """Each with 60 other digits."""
    shared = studied()
    return Simulator(
        clients_by_number={
            index: simulated(f"client {index}", shared, samples(600 + 60 * index, 660 + 60 * index), **changed)  # type: ignore[arg-type]
            for index in range(number)
        }
    )


def course(settings: Settings = SETTINGS, **changed: object) -> Course:
    given = {"module": network(), "input_shape": SHAPE, "network": b"", "labels": LABELS, "preprocessing": ""} | changed
    return Course(settings=settings, **given)  # type: ignore[arg-type]


def accuracy(module: nn.Module) -> float:
    held = samples(1200, 1797)
    with torch.no_grad():
        return float((module.eval()(held.x_N).argmax(1) == held.y_N).float().mean())


@dataclass(kw_only=True)
class Recorded:
    """A transport that keeps what it carried, and may change or drop it."""

    inner: Simulator
    requests: list[tuple[Kind, int, bytes]] = field(default_factory=list)
    answers: list[tuple[Kind, int, bytes]] = field(default_factory=list)

    def clients(self) -> tuple[int, ...]:
        return tuple(self.inner.clients())

    def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
        self.requests += [(kind, number, content) for number, content in requests.items()]
        answers = {
            number: changed
            for number, content in self.inner.exchange(kind, requests, timeout_s).items()
            if (changed := self.changed(kind, number, content)) is not None
        }
        self.answers += [(kind, number, content) for number, content in answers.items()]
        return answers

    def changed(self, kind: Kind, number: int, content: bytes) -> bytes | None:  # noqa: ARG002
        return content


def all_kept(module: nn.Module) -> Masks:
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(module).items()}
