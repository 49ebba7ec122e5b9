"""FedTiny with all clients in one process: a vote on masks, rounds of masked training, and an adjustment after each."""

from __future__ import annotations

import copy
import math
import time
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
from edgekit.passes.fedtiny_clients import Client, Task, generator
from edgekit.pruning.batch_norm_selection import load, merged, running, vote
from edgekit.pruning.candidates import Candidate, candidate, macs_of, uses_of
from edgekit.pruning.masked_training import masked_momenta, rise_and_fall, train_masked, weighted_mean
from edgekit.pruning.masks import apply_masks, density_of, hash_of, kept, prunable
from edgekit.pruning.progressive import changes, exchanged, merged_gradients, unit_of_turn
from edgekit.pruning.units import units_of

ADJUSTED = 0.75
"""Share of the rounds after which weights are exchanged."""
ROUNDS_WITHOUT_ADJUSTMENT = 8


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
    began: float = field(default_factory=time.monotonic)

    def run(self) -> dict[str, Tensor]:
        """The masks; the module has the weights."""
        checkpoint = Checkpoint.of(self.options, self.module, self.context)
        uses = uses_of(self.module, tuple(prunable(self.module)), self.clients[0].task.inputs(torch.tensor([0])))
        state = checkpoint.read(self.module) or self._selected(uses)
        rounds, stop = self._rounds()
        while state.rounds < rounds and not self._late():
            if not self._train(state, rounds):
                break
            if state.rounds < stop:
                self._adjust(state, rounds, stop)
            state.rounds += 1
            checkpoint.write(self.module, state)
            self.context.progress(f"prune::fedtiny: round {state.rounds} of {rounds}")
        if state.rounds < rounds:
            self.notes.append(f"The time was up after {state.rounds} of {rounds} rounds of training.")
        self._recalibrate()
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

    def _selected(self, uses: dict[str, int]) -> State:
        """With the mask that the clients vote for; where there is no time for all, among those that were judged."""
        options, samples_K = self.options, [len(client) for client in self.clients]
        dense = {name: weight.detach().clone() for name, weight in prunable(self.module).items()}
        drawn = torch.randint(1, 2**31, (options.candidates - 1,), generator=generator(self.context.seed, -2))
        seeds, macs_C, losses_CK = [0, *drawn.tolist()], list[int](), list[list[float]]()
        for seed in seeds if len(seeds) > 1 else []:
            if self._late():
                break
            one = candidate(dense, options.density, seed)
            self._put(dense, one)
            losses_CK.append([client.mean_loss(self.module) for client in self.clients])
            macs_C.append(macs_of(one.masks, uses))
        best = vote(losses_CK, samples_K, macs_C) if losses_CK else 0
        if losses_CK:
            means = [sum(map(math.prod, zip(one, samples_K, strict=True))) / sum(samples_K) for one in losses_CK]
            self.notes.append(
                f"Of {len(means)} masks number {best + 1} was voted for: loss {means[best]:.3f} before training; "
                f"layer densities of ERK have {means[0]:.3f}, the worst {max(means):.3f}."
            )
        chosen = candidate(dense, options.density, seeds[best])
        self._put(dense, chosen)
        return State(masks=dict(chosen.masks))

    @torch.no_grad()
    def _put(self, dense: dict[str, Tensor], one: Candidate) -> None:
        """Into the module: the candidate's weights, with the statistics of all clients."""
        for name, weight in prunable(self.module).items():
            weight.copy_(dense[name])
        apply_masks(self.module, one.masks)
        self._recalibrate()

    def _recalibrate(self) -> None:
        parts = [client.statistics(self.module) for client in self.clients]
        load(self.module, merged(parts, [len(client) for client in self.clients]))

    def _train(self, state: State, rounds: int) -> bool:
        """One round of every client from the same weights, and the mean of what they learnt; whether there was time for it all."""
        weights_K = [len(client) for client in self.clients]
        start = {name: value.clone() for name, value in self.module.named_parameters()}
        statistics, parts, momenta, norms = running(self.module), [], [], []
        for client in self.clients:
            with torch.no_grad():
                for name, parameter in self.module.named_parameters():
                    parameter.copy_(start[name])
            load(self.module, statistics)
            steps = client.steps(self.options.epochs)
            first, last = steps * state.rounds // rounds, steps * (state.rounds + 1) // rounds
            momenta.append(train_masked(self.module, state.masks, state.momenta, self._steps(client, first, last)))
            parts.append({name: value.detach().clone() for name, value in self.module.named_parameters()})
            norms.append(running(self.module))
        with torch.no_grad():
            for name, value in weighted_mean(parts, weights_K).items():
                self.module.get_parameter(name).copy_(value)
        load(self.module, merged(norms, weights_K))
        state.momenta = weighted_mean(momenta, weights_K)
        return not self._late()

    def _steps(self, client: Client, first: int, last: int) -> Iterator[tuple[float, partial[Tensor]]]:
        steps = client.steps(self.options.epochs)
        for step, loss_of in zip(range(first, last), client.losses(first, last), strict=True):
            if self._late():
                return
            share = max(step / steps, self._share_of_time())
            yield self.options.learning_rate * rise_and_fall(step / steps, share), loss_of

    def _adjust(self, state: State, rounds: int, stop: int) -> None:
        """One unit loses its smallest weights and grows those whose gradients all clients together find largest."""
        units = units_of(self.module, tuple(state.masks))
        counts = {}
        for name in unit_of_turn(units, state.rounds):
            active = int(state.masks[name].sum())
            wanted = changes(state.rounds, stop, active, alpha=self.options.exchange)
            counts[name] = min(wanted, state.masks[name].numel() - active)
        counts = {name: count for name, count in counts.items() if count}
        if not counts:
            return
        parts = [
            client.largest_gradients(
                self.module,
                state.masks,
                counts,
                client.steps(self.options.epochs) * (state.rounds + 1) // rounds,
            )
            for client in self.clients
        ]
        weights = prunable(self.module)
        for name, count in counts.items():
            grown = merged_gradients([part[name] for part in parts], [len(client) for client in self.clients], count)
            state.masks[name] = exchanged(weights[name], state.masks[name], grown, count)
            state.changed += count
        apply_masks(self.module, state.masks)
        state.momenta = masked_momenta(state.momenta, state.masks)

    def _late(self) -> bool:
        return self.context.deadline is not None and time.monotonic() >= self.context.deadline

    def _share_of_time(self) -> float:
        """So that the learning rate has fallen when the time is up."""
        if self.context.deadline is None:
            return 0.0
        return (time.monotonic() - self.began) / max(1e-9, self.context.deadline - self.began)
