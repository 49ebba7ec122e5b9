"""FedTiny with all clients in one process: a vote on masks, rounds of masked training, and an adjustment after each."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, fx

from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.model import Model
from edgekit.passes.contract import Context, LayerRow, PassResult
from edgekit.passes.fedtiny import FedTiny
from edgekit.passes.fedtiny_checkpoint import Checkpoint, State
from edgekit.passes.fedtiny_clients import Client, Task, generator, recalibrate, train_together
from edgekit.passes.fedtiny_selection import TRIAL, Selection
from edgekit.pruning.candidates import macs_of, uses_of
from edgekit.pruning.masked_training import masked_momenta, rise_and_fall
from edgekit.pruning.masks import apply_masks, density_of, hash_of, kept, prunable
from edgekit.pruning.progressive import changes, exchanged, merged_gradients, unit_of_turn
from edgekit.pruning.units import units_of

ADJUSTED = 0.75
"""Share of the rounds after which weights are exchanged."""
ROUNDS_WITHOUT_ADJUSTMENT = 8
STEPS_TO_GROW = 100
"""Between two exchanges, for what is grown to learn (the interval of RigL, arXiv 1911.11134); with fewer, fewer are exchanged."""


def pruned(options: FedTiny, model: Model, context: Context) -> PassResult:
    """What the pass answers. Raises as it says."""
    module = copy.deepcopy(model.module)
    if not isinstance(module, fx.GraphModule) or not prunable(module):
        raise ConversionError(
            "prune::fedtiny finds no convolution or linear layer in the network", hint="leave this pass out"
        )
    task = Task.of(context, next(module.parameters()).device)
    if len(task.samples) < 2 * options.clients:
        raise UsageError(
            f"prune::fedtiny: {len(task.samples)} samples for {options.clients} clients, expected two or more for each",
            hint="give more samples or fewer clients",
        )
    order_N = torch.randperm(len(task.samples), generator=generator(context.seed, -1))
    clients = [
        Client(task=task, number=number, indices_N=part_N, batch=min(options.batch, len(part_N)))
        for number, part_N in enumerate(order_N.tensor_split(options.clients))
    ]
    course = _Course(options=options, module=module, context=context, clients=clients)
    masks = course.run()
    return PassResult(
        model=replace(model, module=module, masks=masks),
        modified=True,
        layers=tuple(
            LayerRow(
                layer=name.removesuffix(".weight"),
                cells={"weights": mask.numel(), "kept": int(mask.sum()), "density": float(mask.float().mean())},
            )
            for name, mask in masks.items()
        ),
        notes=tuple(course.notes),
    )


@dataclass(kw_only=True, slots=True)
class _Course:
    options: FedTiny
    module: fx.GraphModule
    context: Context
    clients: list[Client]
    notes: list[str] = field(default_factory=list)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.context.clock()

    def run(self) -> dict[str, Tensor]:
        """The masks; the module has the weights."""
        checkpoint = Checkpoint.of(self.options, self.module, self.context)
        uses = uses_of(self.module, tuple(prunable(self.module)), self.clients[0].task.inputs(torch.tensor([0])))
        state = checkpoint.read(self.module)
        if state is None:
            state = Selection(
                self.options, self.module, self.clients, uses, lambda: self.context.late, self.notes
            ).run()
        rounds, stop = self._rounds()
        while state.rounds < rounds and not self.context.late:
            if not self._train(state, rounds):
                break
            if state.rounds < stop:
                self._adjust(state, rounds, stop)
            state.rounds += 1
            checkpoint.write(self.module, state)
            self.context.progress(f"prune::fedtiny: round {state.rounds} of {rounds}")
        if state.rounds < rounds:
            self.notes.append(f"The time was up after {state.rounds} of {rounds} rounds of training.")
        recalibrate(self.module, self.clients)
        apply_masks(self.module, state.masks)
        total = sum(mask.numel() for mask in state.masks.values())
        self.notes += [
            f"{state.changed} weights were exchanged for others.",
            f"{kept(state.masks)} of {total} weights are kept ({density_of(state.masks):.2%}), biases and normalisation aside; "
            f"{macs_of(state.masks, uses)} of {sum(uses[name] * mask.numel() for name, mask in state.masks.items())} MACs "
            "are theirs in theory. Dense kernels execute the zeros too: no speed-up on this target.",
            f"The masks have SHA-256 {hash_of(state.masks)}.",
        ]
        return state.masks

    def _rounds(self) -> tuple[int, int]:
        """How many, and after how many of them adjustments stop; no round is shorter than a step."""
        rounds = math.ceil(self.options.adjustments / ADJUSTED) or ROUNDS_WITHOUT_ADJUSTMENT
        rounds = min(rounds, max(client.steps(self.options.epochs) for client in self.clients))
        return rounds, min(self.options.adjustments, round(ADJUSTED * rounds))

    def _train(self, state: State, rounds: int) -> bool:
        """One round; whether there was time for it all."""
        state.momenta = train_together(
            self.module,
            self.clients,
            state.masks,
            state.momenta,
            lambda client: self._steps(client, state, rounds),
        )
        return not self.context.late

    def _first(self, client: Client, state: State, rounds: int) -> int:
        """The step with which the round begins, after the trials."""
        trials, steps = (
            state.trials * round(TRIAL * client.steps(self.options.epochs)),
            client.steps(self.options.epochs),
        )
        return trials + (steps - trials) * state.rounds // rounds

    def _steps(self, client: Client, state: State, rounds: int) -> Iterator[tuple[float, partial[Tensor]]]:
        begin, end = (self._first(client, replace(state, rounds=number), rounds) for number in (0, rounds))
        first, last = (
            self._first(client, replace(state, rounds=number), rounds) for number in (state.rounds, state.rounds + 1)
        )
        for step, loss_of in zip(range(first, last), client.losses(first, last), strict=True):
            if self.context.late:
                return
            share = (step - begin) / (end - begin)
            yield self.options.learning_rate * rise_and_fall(share, max(share, self._share_of_time())), loss_of

    def _adjust(self, state: State, rounds: int, stop: int) -> None:
        """One unit loses its smallest weights and grows those whose gradients all clients together find largest."""
        units = units_of(self.module, tuple(state.masks))
        between = min(client.steps(self.options.epochs) for client in self.clients) / rounds
        share = self.options.exchange * min(1.0, between / STEPS_TO_GROW)
        counts = {}
        for name in unit_of_turn(units, state.rounds):
            active = int(state.masks[name].sum())
            wanted = changes(state.rounds, stop, active, alpha=share)
            counts[name] = min(wanted, state.masks[name].numel() - active)
        counts = {name: count for name, count in counts.items() if count}
        if not counts:
            return
        parts = [
            client.largest_gradients(
                self.module,
                state.masks,
                counts,
                self._first(client, replace(state, rounds=state.rounds + 1), rounds),
            )
            for client in self.clients
        ]
        weights = prunable(self.module)
        for name, count in counts.items():
            grown = merged_gradients([part[name] for part in parts], [len(client) for client in self.clients], count)
            mask = exchanged(weights[name], state.masks[name], grown, count)
            state.changed += int((mask & ~state.masks[name]).sum())
            state.masks[name] = mask
        apply_masks(self.module, state.masks)
        state.momenta = masked_momenta(state.momenta, state.masks)

    def _share_of_time(self) -> float:
        """So that the learning rate has fallen when the time is up."""
        if self.context.deadline is None:
            return 0.0
        return (self.context.clock() - self.began) / max(1e-9, self.context.deadline - self.began)
