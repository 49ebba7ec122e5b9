"""The training that the trained baselines share: the supernet's recipe, for the images of one task."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.training.augmentation import Augmentation, Mixture, mix
from edgekit.assembler.training.data import Dataset
from edgekit.assembler.training.optimizers import OptimizerKind, Optimizers
from edgekit.assembler.training.recipe import Recipe
from edgekit.supernet.resizing import resized
from edgekit.supernet.subnet import Subnet
from edgekit.tasks.task import Task

RISE = 0.03  # share of the training in which the learning rate rises
LARGEST_GRADIENT = 5.0

Done = Callable[[int, float], float]
"""From the steps taken and the seconds since the first to the share of the training that is done, at least 1 at its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Images `x_NCHW` uint8 and the output `y_N` that is right for each."""

    x_NCHW: Tensor
    y_N: Tensor

    @classmethod
    def of(cls, dataset: Dataset) -> Images:
        return cls(x_NCHW=torch.from_numpy(dataset.x_NCHW), y_N=torch.from_numpy(dataset.y_N))

    def for_task(self, task: Task) -> Images:
        """Those of a classification's labels."""
        indices = torch.tensor(task.indices)
        chosen = torch.isin(self.y_N, indices)
        return Images(x_NCHW=self.x_NCHW[chosen], y_N=torch.searchsorted(indices, self.y_N[chosen]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """How a network learns: with one cosine of peak `learning_rate`, and as the supernet else."""

    batch: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    bfloat16: bool
    optimizer: OptimizerKind
    augmentation: Augmentation

    @classmethod
    def of(cls, recipe: Recipe, *, learning_rate: float) -> Course:
        return cls(
            batch=recipe.batch,
            learning_rate=learning_rate,
            weight_decay=recipe.weight_decay,
            label_smoothing=recipe.label_smoothing,
            bfloat16=recipe.bfloat16,
            optimizer=recipe.optimizer,
            augmentation=recipe.augmentation,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A network of one task, what it took to train, and what it costs."""

    subnet: Subnet
    image_size: int
    steps: int
    seconds: float


class Training:
    """One network's training, step by step; `answer` gives its logits in training."""

    def __init__(
        self, network: nn.Module, answer: Callable[[Tensor], Tensor], images: Images, course: Course, *, seed: int
    ) -> None:
        self.network, self.answer, self.images, self.course = network, answer, images, course
        self.device = next(network.parameters()).device
        self.drawn = torch.Generator().manual_seed(seed)
        self.mixed = np.random.default_rng(seed)
        self.weight_N = torch.bincount(images.y_N).float().clamp_min(1).rsqrt()[images.y_N]
        self.optimizers = Optimizers(network.parameters(), course.optimizer, weight_decay=course.weight_decay)

    def run(self, done: Done, *, image_size: int) -> int:
        """Trains until it is done; the number of steps."""
        started, steps = time.perf_counter(), 0
        while (share := done(steps, time.perf_counter() - started)) < 1:
            self.step(share, image_size=image_size)
            steps += 1
        return steps

    def draw(self) -> tuple[Tensor, Tensor]:
        """A batch as it comes: `x_NCHW` float32 in [0, 1], and `y_N`."""
        chosen = torch.multinomial(self.weight_N, self.course.batch, True, generator=self.drawn)
        x_NCHW = self.images.x_NCHW[chosen.to(self.images.x_NCHW.device)].to(self.device).float() / 255
        return x_NCHW, self.images.y_N[chosen].to(self.device)

    def step(self, done: float, *, image_size: int, in_place: bool = False) -> Tensor:
        """One batch at a place of the training from 0 to 1, with the recipe's changes or those in place; its loss."""
        course = self.course
        augmentation = course.augmentation.in_place if in_place else course.augmentation
        x_NCHW, y_N = self.draw()
        x_NCHW = augmentation.change(x_NCHW, augmentation.draw(course.batch, self.drawn))
        mixing = tuple(self.mixed.random(4).tolist()) if self.mixed.random() < course.augmentation.mix else None
        x_NCHW, mixture = (x_NCHW, Mixture()) if mixing is None else mix(x_NCHW, mixing)
        x_NCHW = resized(x_NCHW, image_size).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=course.bfloat16):
            z_NK = self.answer(x_NCHW).float()
        loss = mixture.share * self._cross_entropy(z_NK, y_N)
        if mixture.share < 1:
            loss = loss + (1 - mixture.share) * self._cross_entropy(z_NK, Mixture.neighbours(y_N))
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        rise = min(1.0, (done + 1e-3) / RISE)
        self.optimizers.step(learning_rate=course.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done)))
        return loss.detach()

    def _cross_entropy(self, z_NK: Tensor, y_N: Tensor) -> Tensor:
        return F.cross_entropy(z_NK, y_N, label_smoothing=self.course.label_smoothing)


def for_seconds(seconds: float) -> Done:
    return lambda _steps, elapsed_s: elapsed_s / seconds


def for_steps(number: int) -> Done:
    return lambda steps, _elapsed_s: steps / number
