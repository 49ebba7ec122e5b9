"""Which candidate a FedTiny course begins with: a vote on all before training, then one on a few after a short trial of each."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, fx

from edgekit.passes.fedtiny import FedTiny
from edgekit.passes.fedtiny_checkpoint import State
from edgekit.passes.fedtiny_clients import Client, generator, recalibrate, train_together
from edgekit.pruning.batch_norm_selection import vote
from edgekit.pruning.candidates import ERK, FLOW, MAGNITUDE, Candidate, Draws, macs_of
from edgekit.pruning.masked_training import rise_and_fall
from edgekit.pruning.masks import apply_masks, prunable

TRIAL: Final = 0.04
"""Share of the training that each finalist gets; the trials of all are part of the training."""
TELLS: Final = 0.9
"""The share of what a network without weights loses that the best mask must be below for the vote to tell anything."""
CLEARLY: Final = 0.9
"""The share of the synaptic flow's loss after a trial that another mask must be below to be preferred."""


class Selection:
    """`late` says that the time is up; `notes` grow."""

    def __init__(
        self,
        options: FedTiny,
        module: fx.GraphModule,
        clients: Sequence[Client],
        uses: Mapping[str, int],
        late: Callable[[], bool],
        notes: list[str],
    ) -> None:
        self.options, self.module, self.clients, self.uses = options, module, clients, uses
        self.late, self.notes = late, notes
        self.context = clients[0].task.context
        self.dense = copy.deepcopy(module)
        shape = tuple(clients[0].task.samples.x_N.shape[1:])
        self.draws = Draws.of(self.dense, shape, options.density)

    def run(self) -> State:
        """The module has the weights of the mask chosen."""
        flow = self.draws.candidate(FLOW)
        if self.options.candidates == 1 or self.late():
            return self._without_trial(flow)
        drawn = generator(self.context.seed, -2).initial_seed()
        seeds = [FLOW, ERK, MAGNITUDE, *(drawn % 2**31 + 3 + n for n in range(self.options.candidates - 3))]
        judged, losses_CK = self._judged(seeds[: self.options.candidates])
        order = self._order(judged, losses_CK)
        if self._mean(losses_CK[order[0]]) > TELLS * self._without_weights():
            self.notes.append(
                "None answers better than a network without weights, so the vote tells nothing: one ranking by synaptic flow."
            )
            return self._without_trial(flow)
        steps = {client.number: round(TRIAL * client.steps(self.options.epochs)) for client in self.clients}
        if min(steps.values()) < 1:
            return self._without_trial(judged[order[0]])
        # Losses before training compare masks of one kind, not the kinds: the best of each is tried.
        best = [
            next((index for index in order if index and judged[index].by_flow == kind), 0) for kind in (False, True)
        ]
        finalists = [judged[index] for index in dict.fromkeys([0, *best])]
        return self._tried(finalists, steps)

    def _without_trial(self, one: Candidate) -> State:
        self._put(one)
        return State(masks=dict(one.masks))

    def _without_weights(self) -> float:
        """What a network loses that answers the same to everything."""
        self.module.load_state_dict(self.dense.state_dict())
        apply_masks(
            self.module,
            {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in prunable(self.dense).items()},
        )
        recalibrate(self.module, self.clients)
        return self._mean([client.mean_loss(self.module) for client in self.clients])

    def _judged(self, seeds: Sequence[int]) -> tuple[list[Candidate], list[list[float]]]:
        """So many candidates as there is time for, and what they lose before training."""
        judged: list[Candidate] = []
        losses_CK: list[list[float]] = []
        for seed in seeds:
            if self.late() and judged:
                break
            judged.append(self.draws.candidate(seed))
            self._put(judged[-1])
            losses_CK.append([client.mean_loss(self.module) for client in self.clients])
        best = self._order(judged, losses_CK)[0]
        self.notes.append(
            f"{len(judged)} masks were voted on before training: losses {self._mean(losses_CK[best]):.3f} to "
            f"{max(map(self._mean, losses_CK)):.3f}."
        )
        return judged, losses_CK

    def _tried(self, finalists: Sequence[Candidate], steps: Mapping[int, int]) -> State:
        """The winner goes on from where its trial ended."""
        ends: list[tuple[Candidate, dict[str, Tensor], dict[str, Tensor]]] = []
        losses_CK: list[list[float]] = []
        for one in finalists:
            if self.late() and ends:
                break
            self._put(one)
            rates = {
                number: [self.options.learning_rate * rise_and_fall(step / last, step / last) for step in range(last)]
                for number, last in steps.items()
            }
            momenta = train_together(
                self.module,
                self.clients,
                one.masks,
                {},
                lambda client: zip(rates[client.number], client.losses(0, steps[client.number]), strict=True),  # noqa: B023
            )
            recalibrate(self.module, self.clients)
            losses_CK.append([client.mean_loss(self.module) for client in self.clients])
            ends.append((one, momenta, copy.deepcopy(self.module.state_dict())))
        best = self._order([one for one, _, _ in ends], losses_CK)[0]
        if self._mean(losses_CK[best]) > CLEARLY * self._mean(losses_CK[0]):
            best = 0
        chosen, momenta, weights = ends[best]
        self.module.load_state_dict(weights)
        kinds = {FLOW: "one ranking by synaptic flow", ERK: "densities of ERK", MAGNITUDE: "one ranking by magnitude"}
        kind = kinds.get(chosen.seed, f"draw {chosen.seed}")
        self.notes.append(
            f"Of {len(ends)} masks that were tried in {TRIAL:.0%} of the training each, {kind} was voted for: losses "
            f"{self._mean(losses_CK[best]):.3f} of {min(map(self._mean, losses_CK)):.3f} to {max(map(self._mean, losses_CK)):.3f}."
        )
        return State(masks=dict(chosen.masks), momenta=momenta, trials=len(ends))

    def _order(self, candidates: Sequence[Candidate], losses_CK: Sequence[Sequence[float]]) -> list[int]:
        """From the one voted for to the last."""
        macs_C = [macs_of(one.masks, self.uses) for one in candidates]
        left, order = list(range(len(candidates))), []
        while left:
            won = vote(
                [losses_CK[index] for index in left],
                [len(client) for client in self.clients],
                [macs_C[index] for index in left],
            )
            order.append(left.pop(won))
        return order

    def _mean(self, losses_K: Sequence[float]) -> float:
        samples_K = [len(client) for client in self.clients]
        return sum(map(math.prod, zip(losses_K, samples_K, strict=True))) / sum(samples_K)

    def _put(self, one: Candidate) -> None:
        """Into the module: the candidate's weights, with the statistics of all clients."""
        self.module.load_state_dict(self.dense.state_dict())
        apply_masks(self.module, one.masks)
        recalibrate(self.module, self.clients)
