"""Which mask a course begins with: clients vote by adaptive batch-norm selection, then on a few masks after a trial of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from edgekit.federated.conversation import Conversation
from edgekit.federated.layout import central_moments
from edgekit.federated.server_pruning import ServerPictures, pruned_by_server
from edgekit.federated.settings import Settings
from edgekit.federated.state import State
from edgekit.federated.training import Round, train
from edgekit.federated.votes import Vote
from edgekit.passes.fedtiny_clients import generator
from edgekit.passes.fedtiny_selection import CLEARLY, TELLS
from edgekit.pruning.batch_norm_selection import measured, vote
from edgekit.pruning.candidates import ERK, FLOW, MAGNITUDE, Draws, macs_of, uses_of
from edgekit.pruning.masks import Masks, prunable

ROUNDS_FOR_TRIALS: Final = 20
"""Of a course that is long enough for a round of trials."""
GRADUAL: Final = "pruned gradually by the server"
_NAMES: Final = {
    FLOW: "one ranking by synaptic flow",
    ERK: "the densities of ERK",
    MAGNITUDE: "one ranking by magnitude",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Start:
    """A candidate: masks, and the module that has its weights."""

    module: fx.GraphModule
    masks: Masks
    name: str
    by_flow: bool = False
    has_learnt: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """`module` has the weights that candidates are masks of. Of a course that is long enough the first one is pruned by the
    server on its `pictures`, and has learnt. Where clients add noise they are not asked: there is one candidate, whose
    statistics are those of the pictures, or the module's without them. In secure sums these are the units of theirs."""

    module: fx.GraphModule
    input_shape: Sequence[int]
    conversation: Conversation
    settings: Settings
    pictures: ServerPictures | None = None

    def of(self, masks: Masks) -> State:
        """Of these masks, with the statistics of the clients."""
        (vector_V,) = self._settled([_Start(module=self.module, masks=masks, name="given")])
        return State(masks=dict(masks), vector_V=vector_V, notes=["The mask was given."])

    def run(self) -> State:
        if self.settings.density == 1:
            ones = {name: torch.ones_like(one, dtype=torch.bool) for name, one in prunable(self.module).items()}
            vector_V = self.conversation.layout.vector(self.module, ones)
            return State(masks=ones, vector_V=vector_V, notes=["Every weight is kept."])
        starts = self._starts()
        vector_CV = self._settled(starts)
        if len(starts) == 1:
            return self._begin(starts[0], vector_CV[0], "without a vote")
        losses = self._vote().losses([one.masks for one in starts], vector_CV)
        order = self._order(starts, losses)
        outputs = len(self.conversation.offer.labels)
        if losses[order[0]] > TELLS * math.log(max(2, outputs)):
            return self._begin(starts[0], vector_CV[0], "since no candidate answers better than chance")
        best = [next((i for i in order if i and starts[i].by_flow == kind), 0) for kind in (False, True)]
        finalists = list(dict.fromkeys([0, *best]))
        # Of a secure sum some clients may be lost: it is asked of twice as many as it needs.
        triers = 2 * (self.settings.minimum if self.settings.secure else 1)
        can_try = self._is_long and self.settings.per_round >= triers * len(finalists)
        if len(finalists) == 1 or not can_try or starts[order[0]].has_learnt:
            return self._begin(starts[order[0]], vector_CV[order[0]], f"voted for among {len(starts)}")
        return self._tried([starts[i] for i in finalists], vector_CV[finalists], len(starts))

    @property
    def _is_long(self) -> bool:
        return self.settings.rounds >= ROUNDS_FOR_TRIALS

    def _starts(self) -> list[_Start]:
        """As many as there are to be candidates, one where clients add noise."""
        number = 1 if self.settings.noise_multiplier else self.settings.candidates
        starts = []
        if self.pictures is not None and self._is_long:
            module, masks = pruned_by_server(
                self.module,
                self.pictures,
                density=self.settings.density,
                generator=generator(self.settings.seed, "server"),
            )
            starts = [_Start(module=module, masks=masks, name=GRADUAL, has_learnt=True)]
        if len(starts) == number:
            return starts
        draws = Draws.of(self.module, self.input_shape, self.settings.density)
        first = generator(self.settings.seed, "candidates").initial_seed() % 2**31 + 3
        for seed in [FLOW, ERK, MAGNITUDE, *range(first, first + number)][: number - len(starts)]:
            drawn = draws.candidate(seed)
            name = _NAMES.get(seed, f"draw {seed}")
            starts.append(_Start(module=self.module, masks=drawn.masks, name=name, by_flow=drawn.by_flow))
        return starts

    def _tried(self, finalists: Sequence[_Start], vector_CV: NDArray[np.float32], number: int) -> State:
        """One round in which each client tries one of them, then a vote."""
        ends, records = [], []
        for place, (one, vector_V) in enumerate(zip(finalists, vector_CV, strict=True)):
            asked = Round(
                number=0,
                stage="trial",
                masks=one.masks,
                vector_V=vector_V,
                counts={},
                share=(place, len(finalists)),
            )
            learnt = train(self.module, self.conversation, self.settings, asked)
            ends.append(learnt.vector_V)
            records.append(learnt.record)
        losses = self._vote().losses([one.masks for one in finalists], np.stack(ends))
        best = self._order(finalists, losses)[0]
        if losses[best] > CLEARLY * losses[0]:
            best = 0
        state = self._begin(finalists[best], ends[best], f"of {number} and {len(finalists)} trials voted for")
        return replace(state, rounds=1, records=records)

    def _begin(self, one: _Start, vector_V: NDArray[np.float32], how: str) -> State:
        return State(masks=dict(one.masks), vector_V=vector_V, notes=[f"The mask is {one.name}, {how}."])

    def _settled(self, starts: Sequence[_Start]) -> NDArray[np.float32]:
        """The weights under each mask, with what flows into the normalisation of all clients together."""
        layout = self.conversation.layout
        vector_CV = np.stack([layout.vector(one.module, one.masks) for one in starts])
        if not layout.norms:
            return vector_CV
        if self.settings.private and self.pictures is not None:
            for one, vector_V in zip(starts, vector_CV, strict=True):
                layout.load(self.module, one.masks, vector_V)
                vector_V[-layout.moments :] = layout.moments_of(measured(self.module, [self.pictures.x_NCHW]))
        if self.settings.noise_multiplier:
            return vector_CV
        merged_CS = self._vote().moments([one.masks for one in starts], vector_CV)
        vector_CV[:, -layout.moments :] = central_moments(merged_CS)
        return vector_CV

    def _order(self, starts: Sequence[_Start], losses: Sequence[float]) -> list[int]:
        """From the one voted for to the last."""
        uses = uses_of(self.module, tuple(prunable(self.module)), torch.zeros(1, *self.input_shape))
        macs = [macs_of(one.masks, uses) for one in starts]
        left, order = list(range(len(starts))), []
        while left:
            order.append(left.pop(vote([[losses[i]] for i in left], [1], [macs[i] for i in left])))
        return order

    def _vote(self) -> Vote:
        return Vote(conversation=self.conversation, settings=self.settings)
