"""A supernet trained over random tasks, random genotypes and its image sizes."""

from __future__ import annotations

import copy
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

from edgekit.assembler.generator import BrickMacs, open_within
from edgekit.assembler.training.augmentation import Augmentation, Mixture, mix
from edgekit.assembler.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.assembler.training.curve import CURVE, Curve
from edgekit.assembler.training.data import Dataset
from edgekit.assembler.training.front import LIMITS, FrontPoint, best_sizes, early_front
from edgekit.assembler.training.optimizers import Optimizers
from edgekit.assembler.training.recipe import Recipe
from edgekit.assembler.training.statistics import settle_statistics, statistics_held
from edgekit.core.errors import BadInputError
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.resizing import resized
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.vocabulary import Vocabulary

CHECKPOINT_EVERY, REPORT_EVERY = 500, 50
# The average of weights looks back over this share of the joint training, however long that is.
AVERAGED_SHARE = 0.1
SMALL_NETWORKS_WARMING_UP, SMALL_NETWORKS = 1, 2

Progress = Callable[[str, int, dict[str, float]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Images at the supernet's largest size, their labels, and how each is mixed with its neighbour."""

    x_NCHW: Tensor
    y_N: Tensor
    mixture: Mixture


class Trainer:
    """One training, resumable from `folder`.

    Several processes (`torchrun`) share each batch: they draw alike, and each learns from its slice. The first one alone
    measures and writes.

    Each step trains the full network and smaller ones of random genotypes, which distil from it (sandwich rule, arXiv
    1903.05134). A smaller one opens the first bricks of each block, so that bricks become sorted by what they are worth as they
    are trained (SortedNet, arXiv 2309.00255).

    Warm-up: with batch statistics, on all labels, growing through the image sizes. Then the normalisation is frozen: it is a
    fixed affine map in training as in use, so every subnet is right without an image at hand. Its statistics are those of
    pictures as they come: cut-outs show objects larger than they are met in use (FixRes, arXiv 1906.06423), and from here on
    none are trained with. Each step draws a task, and the full network too is trained at random image sizes.
    """

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary, train: Dataset, held_out: Dataset, folder: Path) -> None:
        self.recipe, self.vocabulary = recipe, vocabulary
        self.checkpoint, self.curve = folder / "checkpoint-0.safetensors", Curve(path=folder / CURVE)
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        gpu = torch.cuda.is_available()
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if gpu else "cpu")
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if gpu else "gloo", device_id=self.device if gpu else None)
        if recipe.batch % (2 * self.world * recipe.accumulate):
            raise BadInputError(
                f"recipe: a batch of {recipe.batch} cannot be cut into {recipe.accumulate} even parts on each of "
                f"{self.world} processes",
                hint=f"make batch a multiple of {2 * self.world * recipe.accumulate}",
            )
        self.spec = SupernetSpec.from_json(recipe.supernet, labels=len(vocabulary))
        self.macs = [BrickMacs.of(self.spec, size) for size in range(len(self.spec.image_sizes))]
        self.curriculum = Curriculum.of(vocabulary, seed=recipe.seed)

        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            # torch's type stubs do not know `memory_format`.
            self.supernet: Supernet = Supernet(self.spec).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Supernet = copy.deepcopy(self.supernet)
        self.optimizers = self._fresh_optimizers()
        self.images = torch.Generator().manual_seed(recipe.seed * 1000)
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

    def run(self, report: Progress, *, resume: bool) -> Supernet:
        """Trains to the end of the recipe and returns the averaged weights, in eval mode.

        Calls `report(stage, step, figures)` a few hundred times: stage "train" with losses, "front" with early accuracies.
        Raises BadInputError for a checkpoint that does not fit, and where nothing can be written.
        """
        first = self._resume() if resume else 0
        if self.rank == 0:
            self.curve.cut(first)
        for step in range(first, self.recipe.steps):
            loss_2 = self._step(step)
            done = step + 1
            at_checkpoint = done % CHECKPOINT_EVERY == 0 or done == self.recipe.steps
            if at_checkpoint or done % REPORT_EVERY == 0:
                full, small = self._mean_of_processes(loss_2).tolist()
                losses = {"full": full, "small": small}
                if self.rank == 0:
                    front = self._keep(done, losses) if at_checkpoint else []
                    report("train", done, losses)
                    if front:
                        report("front", done, {point.name: point.accuracy for point in best_sizes(front)})
        if self.world > 1:
            dist.destroy_process_group()
        return copy.deepcopy(self.average.eval())

    def _keep(self, done: int, losses: dict[str, float]) -> list[FrontPoint]:
        """The front so far, noted in the curve, and a checkpoint after it: a line too many is cut off on resuming."""
        front = self._early_front(done - 1)
        accuracies = {f"acc_{point.name}": point.accuracy for point in front}
        self.curve.add({"step": done, "seconds": round(self.seconds, 1), **losses, **accuracies})
        save_checkpoint(self.checkpoint, self._state(), step=done, seconds=self.seconds)
        return front

    def _early_front(self, step: int) -> list[FrontPoint]:
        """Before the warm-up ends there is the full network alone, at the size that it is trained at."""
        warming_up = step < self.recipe.warmup_steps
        sizes = [self._largest_size(step)] if warming_up else range(len(self.spec.image_sizes))
        limits = () if warming_up else LIMITS
        return early_front(self.average.eval(), self.held_x_NCHW, self.held_y_N, sizes=sizes, limits=limits)

    def _resume(self) -> int:
        """The step to go on from; 0 where there is no checkpoint."""
        step = 0
        if self.checkpoint.exists():
            step, seconds = load_checkpoint(self.checkpoint, self._state())
            self.started = time.monotonic() - seconds
        if self.world > 1:
            ends = torch.tensor([step, -step], device=self.device)
            dist.all_reduce(ends, dist.ReduceOp.MAX)
            if ends.sum() != 0:
                raise BadInputError(
                    f"not every process finds the same checkpoint at {self.checkpoint}",
                    hint="give an output folder that all machines share, with -o",
                )
        return step

    def _step(self, step: int) -> Tensor:
        """`loss_2` of this process's images: of the full network, and the mean of the smaller ones."""
        recipe = self.recipe
        warming_up = step < recipe.warmup_steps
        if step == recipe.warmup_steps:
            self._end_warmup()
        self.supernet.train(warming_up)
        indices = self.curriculum.draw(self.tasks, all_labels=1.0 if warming_up else recipe.all_labels)
        largest = self._largest_size(step)
        size = largest if warming_up else self._random_size_of_full()
        full = self.spec.genotype((size, *self.spec.most_genes[1:]))
        networks = SMALL_NETWORKS_WARMING_UP if warming_up else SMALL_NETWORKS
        small = [self._random_genotype(largest) for _ in range(networks)]
        drawn_N, changes_NR = self._draw(indices)
        augmentation = recipe.augmentation if warming_up else recipe.augmentation.in_place
        mixing = tuple(self.tasks.random(4).tolist()) if self.tasks.random() < recipe.augmentation.mix else None
        rows_R = self._sent(torch.tensor(indices))
        loss_2 = torch.zeros(2, device=self.device)
        for part in range(recipe.accumulate):
            chosen = self._slice(part, of=recipe.accumulate)
            batch = self._batch(drawn_N[chosen], changes_NR[chosen], augmentation, mixing)
            loss_2 += self._learn(batch, rows_R, full, small)
        parameters = self.optimizers.parameters
        # A brick may be closed, but then on every process: they draw alike.
        self._share([parameter.grad for parameter in parameters if parameter.grad is not None])
        nn.utils.clip_grad_norm_(parameters, 5.0)
        self.optimizers.step(learning_rate=self._learning_rate(step))
        self._move_average(1.0 if warming_up else max(1.0, AVERAGED_SHARE * (recipe.steps - recipe.warmup_steps)))
        return loss_2 / recipe.accumulate

    def _end_warmup(self) -> None:
        def draw() -> Tensor:
            drawn_N, _ = self._draw(tuple(range(len(self.vocabulary))))
            return self._images(drawn_N[self._slice(0, of=1)])

        settle_statistics(self.supernet, draw)
        self.average.load_state_dict(self.supernet.state_dict())
        # The moments of the old one belong to other networks: those that normalise by their batch.
        self.optimizers = self._fresh_optimizers()

    def _slice(self, part: int, *, of: int) -> slice:
        """Of a drawn batch, one part of what this process learns from."""
        share = self.recipe.batch // self.world // of
        first = (self.rank * of + part) * share
        return slice(first, first + share)

    def _learn(self, batch: Batch, rows_R: Tensor, full: Genotype, small: list[Genotype]) -> Tensor:
        """Adds the gradients of one part of a step's batch and returns its `loss_2`."""
        teacher_NK = self._answer(batch, full)
        loss_full = self._cross_entropy(teacher_NK, batch, torch.arange(len(self.vocabulary), device=self.device))
        torch.autograd.backward(loss_full / self.recipe.accumulate)
        teacher_NK = teacher_NK.detach()
        loss_small = torch.zeros((), device=self.device)
        with statistics_held(self.supernet):
            for genotype in small:
                loss = self._distilled(self._answer(batch, genotype), teacher_NK, batch, rows_R) / len(small)
                torch.autograd.backward(loss / self.recipe.accumulate)
                loss_small += loss.detach()
        return torch.stack([loss_full.detach(), loss_small])

    def _answer(self, batch: Batch, genotype: Genotype) -> Tensor:
        """Logits `z_NK` in float32. The range of bfloat16 is float32's, so that no loss need be scaled."""
        x_NCHW = resized(batch.x_NCHW, self.spec.image_size_of(genotype)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bfloat16):
            z_NK: Tensor = self.supernet(x_NCHW, genotype)
        return z_NK.float()

    def _distilled(self, z_NK: Tensor, teacher_NK: Tensor, batch: Batch, rows_R: Tensor) -> Tensor:
        """Half the task alone (its rows, its labels), half the teacher's answer over the whole vocabulary."""
        task_loss = self._cross_entropy(z_NK, batch, rows_R)
        imitation = F.kl_div(z_NK.log_softmax(1), teacher_NK.log_softmax(1), reduction="batchmean", log_target=True)
        return 0.5 * task_loss + imitation

    def _cross_entropy(self, z_NK: Tensor, batch: Batch, rows_R: Tensor) -> Tensor:
        """Over the given rows of the head; each image weighs its own label and its neighbour's."""
        z_NR, y_N = z_NK[:, rows_R], torch.searchsorted(rows_R, batch.y_N)
        smoothing, share = self.recipe.label_smoothing, batch.mixture.share
        own = F.cross_entropy(z_NR, y_N, label_smoothing=smoothing)
        if share == 1.0:
            return own
        return share * own + (1 - share) * F.cross_entropy(z_NR, Mixture.neighbours(y_N), label_smoothing=smoothing)

    def _draw(self, indices: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Which images of the task's labels make the batch of all processes, and how each is changed.

        Rarer labels are drawn more often than they occur (by the root of their share).
        """
        asked = torch.zeros(len(self.vocabulary))
        asked[list(indices)] = 1
        drawn_N = torch.multinomial(self.weight_N * asked[self.y_N], self.recipe.batch, True, generator=self.images)
        return drawn_N, self.recipe.augmentation.draw(self.recipe.batch, self.images)

    def _batch(
        self,
        drawn_N: Tensor,
        changes_NR: Tensor,
        augmentation: Augmentation,
        mixing: tuple[float, float, float, float] | None,
    ) -> Batch:
        x_NCHW = augmentation.change(self._images(drawn_N), changes_NR)
        x_NCHW, mixture = (x_NCHW, Mixture()) if mixing is None else mix(x_NCHW, mixing)
        return Batch(x_NCHW=x_NCHW, y_N=self._sent(self.y_N[drawn_N]), mixture=mixture)

    def _images(self, drawn_N: Tensor) -> Tensor:
        return self.x_NCHW[self._sent(drawn_N)].float() / 255

    def _sent(self, drawn: Tensor) -> Tensor:
        """On the device, which is not waited for."""
        return drawn.to(self.device, non_blocking=True)

    def _largest_size(self, step: int) -> int:
        """Index of the image size that the full network is trained at."""
        ends = np.cumsum(self.recipe.size_shares) * self.recipe.steps
        return min(int(np.searchsorted(ends, step, side="right")), len(ends) - 1)

    def _random_size_of_full(self) -> int:
        """The largest image size in every other step, or any: it is the teacher, and is used at all of them."""
        sizes = len(self.spec.image_sizes)
        return sizes - 1 if self.tasks.random() < 0.5 else int(self.tasks.integers(sizes))

    def _random_genotype(self, largest: int) -> Genotype:
        """Random numbers of bricks inside a random limit at a random image size up to that of index `largest`."""
        size = int(self.tasks.integers(largest + 1))
        bricks = max(block.bricks for block in self.spec.blocks)
        falling = np.sort(self.tasks.random((len(self.spec.blocks), bricks)))[:, ::-1]
        favoured = falling + self.tasks.normal(0, 0.3, (len(self.spec.blocks), 1))
        least = self.macs[size].of_counts(self.spec.smallest.counts) / self.macs[size].full
        high = math.log(self.recipe.largest_limit)
        low = min(high, math.log(max(self.recipe.smallest_limit, least)))
        limit = math.exp(self.tasks.uniform(low, high))
        return self.spec.genotype((size, *open_within(favoured, self.spec, self.macs[size], limit)))

    def _learning_rate(self, step: int) -> float:
        """A linear start and half a cosine, once for the warm-up and once, lower, for the joint training."""
        recipe = self.recipe
        if step < recipe.warmup_steps:
            peak, start, floor = recipe.warmup_learning_rate, 0.05, 0.1
            done = step / recipe.warmup_steps
        else:
            peak, start, floor = recipe.learning_rate, 0.03, 0.0
            done = (step - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps)
        return peak * min(1.0, (done + 1e-3) / start) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))

    def _fresh_optimizers(self) -> Optimizers:
        recipe = self.recipe
        return Optimizers(self.supernet.parameters(), recipe.optimizer, weight_decay=recipe.weight_decay)

    @torch.no_grad()
    def _move_average(self, steps: float) -> None:
        """Towards the current weights, as if over the last so many steps; after one they are equal."""
        current: list[Tensor] = list(self.supernet.parameters())
        torch._foreach_lerp_(list(self.average.parameters()), current, 1 / steps)
        if steps == 1.0:
            for mine, theirs in zip(self.average.buffers(), self.supernet.buffers(), strict=True):
                mine.copy_(theirs)

    def _share(self, gradients: list[Tensor]) -> None:
        """Each becomes its mean over processes: in one message, which costs less than one each."""
        if self.world > 1:
            flat = self._mean_of_processes(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view(gradient.shape))

    def _mean_of_processes(self, mine: Tensor) -> Tensor:
        if self.world == 1:
            return mine
        total = mine.clone()
        dist.all_reduce(total)
        return total / self.world

    def _state(self) -> TrainingState:
        modules = {"supernet": self.supernet, "average": self.average}
        return TrainingState(modules=modules, optimizers=self.optimizers.each, images=self.images, tasks=self.tasks)
