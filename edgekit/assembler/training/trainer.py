"""Supernet and generator, trained together over random tasks and random limits."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.generator import BrickMacs, Generator, open_within
from edgekit.assembler.training.augmentation import augment
from edgekit.assembler.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.assembler.training.data import Dataset
from edgekit.assembler.training.recipe import Recipe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.vocabulary import Vocabulary

CHECKPOINT_EVERY = 500
AVERAGE_DECAY = 0.9995
SHARE_ALL_LABELS = 0.3

Progress = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The averaged weights, in eval mode."""

    supernet: Supernet
    generator: Generator


class Trainer:
    """One training, resumable from `folder`.

    Warm-up: batch statistics, all labels, the full network and one random prefix a step. After it the normalisation is
    frozen: it is a fixed affine map in training as in use, so every subnet is right without an image at hand. From then on
    each step draws a task and trains three networks on it: the full one, the generator's choice for the task and a random
    limit, and a random small one; both small ones distil from the full one (sandwich rule, arXiv 1903.05134).
    """

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary, train: Dataset, held_out: Dataset, folder: Path) -> None:
        self.recipe, self.vocabulary, self.folder = recipe, vocabulary, folder
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")
        self.spec = SupernetSpec.from_json(recipe.supernet, labels=len(vocabulary))
        self.macs = BrickMacs.of(self.spec)
        self.curriculum = Curriculum.of(vocabulary, seed=recipe.seed)

        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            # torch's type stubs do not know `memory_format`.
            self.supernet: Supernet = Supernet(self.spec).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            bricks = max(block.bricks for block in self.spec.blocks)
            self.generator = Generator(len(vocabulary), len(self.spec.blocks), bricks).to(self.device)
        self.average = copy.deepcopy(nn.ModuleList([self.supernet, self.generator]))
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), lr=recipe.warmup_learning_rate, betas=(0.9, 0.99))
        self.images = torch.Generator().manual_seed(recipe.seed * 1000 + self.rank)
        self.tasks = np.random.default_rng(recipe.seed)

        self.x_NCHW = torch.from_numpy(train.x_NCHW).to(self.device)
        self.y_N = torch.from_numpy(train.y_N)
        self.weight_N = torch.bincount(self.y_N, minlength=len(vocabulary)).float().clamp_min(1).rsqrt()[self.y_N]
        self.held_x_NCHW = torch.from_numpy(held_out.x_NCHW).to(self.device)
        self.held_y_N = torch.from_numpy(held_out.y_N).to(self.device)
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent on this training so far, in all runs together."""
        return time.monotonic() - self.started

    def run(self, report: Progress, *, resume: bool) -> Trained:
        """Trains to the end of the recipe; `report(step, figures)` is called a few hundred times."""
        path = self.folder / f"checkpoint-{self.rank}.safetensors"
        first = self._resume(path) if resume and path.exists() else 0
        for step in range(first, self.recipe.steps):
            figures = self._step(step)
            done = step + 1
            if done % CHECKPOINT_EVERY == 0 or done == self.recipe.steps:
                figures |= self._held_out_accuracy()
                save_checkpoint(path, self._state(), step=done, seconds=self.seconds)
                if self.rank == 0:
                    self._note(done, figures)
            if self.rank == 0 and (done % 50 == 0 or done == self.recipe.steps):
                report(done, figures)
        supernet, generator = copy.deepcopy(self.average)
        assert isinstance(supernet, Supernet) and isinstance(generator, Generator)  # noqa: S101, PT018
        return Trained(supernet=supernet.eval(), generator=generator.eval())

    def _resume(self, path: Path) -> int:
        step, seconds = load_checkpoint(path, self._state())
        self.started = time.monotonic() - seconds
        return step

    def _step(self, step: int) -> dict[str, float]:
        recipe = self.recipe
        warming_up = step < recipe.warmup_steps
        if step == recipe.warmup_steps:
            self._agree_on_statistics()
        self.supernet.train(warming_up)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(step)

        indices = self.curriculum.draw(self.tasks, all_labels=1.0 if warming_up else SHARE_ALL_LABELS)
        x_NCHW, y_N = self._draw_images(indices)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            teacher_NK = self.supernet(x_NCHW, self.spec.full)
            loss_full = F.cross_entropy(teacher_NK, y_N, label_smoothing=recipe.label_smoothing)
            torch.autograd.backward(loss_full)
            teacher_NK = teacher_NK.detach()
            loss_random = self._distilled(self.supernet(x_NCHW, self._random_genotype()), teacher_NK, y_N, indices)
            torch.autograd.backward(loss_random)
            figures = {"full": loss_full.item(), "random": loss_random.item()}
            if not warming_up:
                loss_generated = self._generated(x_NCHW, y_N, teacher_NK, indices)
                torch.autograd.backward(loss_generated)
                figures["generated"] = loss_generated.item()
        self._share_gradients()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._move_average(0.0 if warming_up else AVERAGE_DECAY)
        return figures

    def _generated(self, x_NCHW: Tensor, y_N: Tensor, teacher_NK: Tensor, indices: tuple[int, ...]) -> Tensor:
        """Loss of the generator's choice, with straight-through gates and the penalty above the limit."""
        limit = self._draw_limit(self.recipe.largest_limit)
        task = torch.zeros(1, len(self.vocabulary), device=self.device)
        task[0, list(indices)] = 1
        z_BM = self.generator(task, torch.tensor([limit], device=self.device))[0]
        noise = torch.from_numpy(self.tasks.logistic(0, 0.7, (z_BM.shape[0], 1))).float().to(self.device)
        counts = open_within((z_BM.detach() + noise).cpu().numpy(), self.spec, self.macs, limit)
        soft_BM = torch.sigmoid(z_BM)
        straight = 1 + soft_BM - soft_BM.detach()
        gates = [straight[block, :count] for block, count in enumerate(counts)]
        logits = self.supernet(x_NCHW, Genotype.prefix(counts), gates=gates)
        per_brick = torch.tensor(self.macs.per_brick, device=self.device)[:, None] / self.macs.full
        over = (soft_BM * per_brick).sum() + self.macs.fixed / self.macs.full - limit
        return self._distilled(logits, teacher_NK, y_N, indices) + F.relu(over) ** 2

    def _distilled(self, z_NK: Tensor, teacher_NK: Tensor, y_N: Tensor, indices: tuple[int, ...]) -> Tensor:
        """Half the task alone (its rows, its labels), half the teacher's answer over the whole vocabulary."""
        rows = torch.tensor(indices, device=self.device)
        task_loss = F.cross_entropy(
            z_NK[:, rows], torch.searchsorted(rows, y_N), label_smoothing=self.recipe.label_smoothing
        )
        teacher_NK, z_NK = teacher_NK.float(), z_NK.float()
        imitation = F.kl_div(z_NK.log_softmax(1), teacher_NK.log_softmax(1), reduction="batchmean", log_target=True)
        return 0.5 * task_loss + imitation

    def _draw_images(self, indices: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """One batch of the task's labels, rarer labels drawn more often than they occur (by the root of their share)."""
        asked = torch.zeros(len(self.vocabulary))
        asked[list(indices)] = 1
        drawn = torch.multinomial(self.weight_N * asked[self.y_N], self.recipe.batch, True, generator=self.images)
        x_NCHW = self.x_NCHW[drawn.to(self.device)].float() / 255
        x_NCHW = augment(x_NCHW, self.images).contiguous(memory_format=torch.channels_last)
        return x_NCHW, self.y_N[drawn].to(self.device)

    def _draw_limit(self, largest: float) -> float:
        return math.exp(self.tasks.uniform(math.log(self.recipe.smallest_limit), math.log(largest)))

    def _random_genotype(self) -> Genotype:
        """Random numbers of bricks inside a random limit, biased to small ones."""
        bricks = max(block.bricks for block in self.spec.blocks)
        falling = np.sort(self.tasks.random((len(self.spec.blocks), bricks)))[:, ::-1]
        favoured = falling + self.tasks.normal(0, 0.3, (len(self.spec.blocks), 1))
        return Genotype.prefix(
            open_within(favoured, self.spec, self.macs, self._draw_limit(self.recipe.largest_limit / 2))
        )

    def _learning_rate(self, step: int) -> float:
        """A linear start and half a cosine, once for the warm-up and once, lower, for the joint training."""
        recipe = self.recipe
        if step < recipe.warmup_steps:
            peak, done, start = recipe.warmup_learning_rate, step / recipe.warmup_steps, 0.05
            floor = 0.1
        else:
            peak, done, start = (
                recipe.learning_rate,
                (step - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps),
                0.03,
            )
            floor = 0.0
        return peak * min(1.0, (done + 1e-3) / start) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))

    def _parameter_groups(self) -> list[dict[str, object]]:
        parameters = [*self.supernet.named_parameters(), *self.generator.named_parameters()]
        weights = [parameter for _, parameter in parameters if parameter.ndim > 2]
        others = [parameter for _, parameter in parameters if parameter.ndim <= 2]
        return [
            {"params": weights, "weight_decay": self.recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def _move_average(self, decay: float) -> None:
        current: list[Tensor] = [*self.supernet.parameters(), *self.generator.parameters()]
        torch._foreach_lerp_(list(self.average.parameters()), current, 1 - decay)
        if decay == 0.0:
            for mine, theirs in zip(self.average[0].buffers(), self.supernet.buffers(), strict=True):
                mine.copy_(theirs)

    def _share_gradients(self) -> None:
        if self.world == 1:
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                # A brick may be closed on every process alike: the draw of tasks and genotypes is the same on all.
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= self.world

    def _agree_on_statistics(self) -> None:
        if self.world == 1:
            return
        for buffer in self.supernet.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.world
        for mine, agreed in zip(self.average[0].buffers(), self.supernet.buffers(), strict=True):
            mine.copy_(agreed)

    @torch.no_grad()
    def _held_out_accuracy(self) -> dict[str, float]:
        """Of the averaged supernet, all labels: in full, and by first bricks at two limits."""
        supernet = self.average[0].eval()
        bricks = max(block.bricks for block in self.spec.blocks)
        order = -np.arange(bricks, dtype=float)[None].repeat(len(self.spec.blocks), 0)
        genotypes = {"acc_100": self.spec.full} | {
            f"acc_{limit:g}": Genotype.prefix(open_within(order, self.spec, self.macs, limit / 100))
            for limit in (12.5, 25)
        }
        return {name: self._accuracy(supernet, genotype) for name, genotype in genotypes.items()}

    def _accuracy(self, supernet: nn.Module, genotype: Genotype) -> float:
        right = 0
        for x_NCHW, y_N in zip(torch.split(self.held_x_NCHW, 500), torch.split(self.held_y_N, 500), strict=True):
            x_NCHW = (x_NCHW.float() / 255).contiguous(memory_format=torch.channels_last)
            right += int((supernet(x_NCHW, genotype).argmax(1) == y_N).sum())
        return right / len(self.held_y_N)

    def _note(self, done: int, figures: dict[str, float]) -> None:
        record = {"step": done, "seconds": round(self.seconds, 1), **figures}
        with (self.folder / "curve.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def _state(self) -> TrainingState:
        modules = {"supernet": self.supernet, "generator": self.generator, "average": self.average}
        return TrainingState(modules=modules, optimizer=self.optimizer, images=self.images, tasks=self.tasks)
