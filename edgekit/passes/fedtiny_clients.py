"""The clients of FedTiny, played in one process: each sees its own samples alone, and answers with what a real one would send."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from edgekit.passes.contract import Context, Samples
from edgekit.pruning.batch_norm_selection import Moments, load, mean_loss, measured, merged, running
from edgekit.pruning.masked_training import train_masked, weighted_mean
from edgekit.pruning.masks import Masks
from edgekit.pruning.progressive import Sparse, largest_gradients
from edgekit.pruning.targets import Answers, answers_of, loss_of

SELECTION_SAMPLES = 1024
"""Of each client, by which it judges candidates."""
GRADIENT_BATCHES = 4
"""Mini-batches whose mean gradient says which weights grow."""
_BATCH = 256


def generator(*path: int | str) -> torch.Generator:
    """Of its own for every path of numbers, so that nothing depends on what was drawn elsewhere before."""
    digest = hashlib.sha256(repr(path).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What all clients share: the samples they are cut from, the teacher, and how a network is judged by both."""

    samples: Samples
    context: Context
    teacher: nn.Module
    answers: Answers
    device: torch.device

    @classmethod
    def of(cls, context: Context, device: torch.device) -> Task:
        teacher = copy.deepcopy(context.original.module).to(device).eval().requires_grad_(False)
        samples = context.training or context.calibration
        with torch.no_grad():
            answers = answers_of(teacher(samples.x_N[:_BATCH].to(device)))
        return cls(samples=samples, context=context, teacher=teacher, answers=answers, device=device)

    def inputs(self, indices_B: Tensor) -> Tensor:
        return self.samples.x_N[indices_B].to(self.device)

    def loss(self, module: nn.Module, x_N: Tensor, indices_B: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_z = self.teacher(x_N)
        y_N = None if self.samples.y_N is None else self.samples.y_N[indices_B].to(self.device)
        return loss_of(self.answers, module(x_N), teacher_z, y_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """`indices_N` are its samples among those of the task, in random order."""

    task: Task
    number: int
    indices_N: Tensor
    batch: int

    def __len__(self) -> int:
        return len(self.indices_N)

    def steps(self, epochs: float) -> int:
        return round(epochs * max(1, len(self) // self.batch))

    def statistics(self, module: nn.Module) -> dict[str, Moments]:
        """Of all normalisation layers."""
        return measured(module, (self.task.inputs(some) for some in self._selection()))

    def mean_loss(self, module: nn.Module) -> float:
        """As it is in use, without changing it."""
        return mean_loss(
            module,
            (
                (len(some), partial(self.task.loss, x_N=self.task.inputs(some), indices_B=some))
                for some in self._selection()
            ),
        )

    def losses(self, first: int, last: int) -> Iterator[partial[Tensor]]:
        """The loss on the mini-batches of steps `first` to `last`; which these are depends on the step alone."""
        a_round, epoch, order_N = max(1, len(self) // self.batch), -1, torch.empty(0, dtype=torch.int64)
        for step in range(first, last):
            if step // a_round != epoch:
                epoch = step // a_round
                order_N = torch.randperm(len(self), generator=self._generator(0, epoch))
            start = step % a_round * self.batch
            indices_B = self.indices_N[order_N[start : start + self.batch]]
            x_N = self.task.inputs(indices_B)
            if self.task.context.augment is not None:
                x_N = self.task.context.augment(x_N, self._generator(1, step))
            yield partial(self.task.loss, x_N=x_N, indices_B=indices_B)

    def largest_gradients(
        self, module: nn.Module, masks: Mapping[str, Tensor], counts: Mapping[str, int], step: int
    ) -> dict[str, Sparse]:
        """On the mini-batches that come after `step`."""
        return largest_gradients(module, masks, counts, list(self.losses(step, step + GRADIENT_BATCHES)))

    def _selection(self) -> tuple[Tensor, ...]:
        return torch.split(self.indices_N[:SELECTION_SAMPLES], _BATCH)

    def _generator(self, *path: int) -> torch.Generator:
        return generator(self.task.context.seed, self.number, *path)


def recalibrate(module: nn.Module, clients: Sequence[Client]) -> None:
    """With the statistics of all clients together."""
    load(module, merged([client.statistics(module) for client in clients], [len(client) for client in clients]))


def train_together(
    module: nn.Module,
    clients: Sequence[Client],
    masks: Masks,
    momenta: Mapping[str, Tensor],
    steps_of: Callable[[Client], Iterable[tuple[float, Callable[[nn.Module], Tensor]]]],
) -> dict[str, Tensor]:
    """Every client from the same weights, in place the mean of what they learnt; the mean of their momenta."""
    samples_K = [len(client) for client in clients]
    before = copy.deepcopy(module.state_dict())
    parts, momenta_K, norms = [], [], []
    for client in clients:
        module.load_state_dict(before)
        momenta_K.append(train_masked(module, masks, momenta, steps_of(client)))
        parts.append({name: value.detach().clone() for name, value in module.named_parameters()})
        norms.append(running(module))
    with torch.no_grad():
        for name, value in weighted_mean(parts, samples_K).items():
            module.get_parameter(name).copy_(value)
    load(module, merged(norms, samples_K))
    return weighted_mean(momenta_K, samples_K)
