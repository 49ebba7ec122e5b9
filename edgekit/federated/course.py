"""A course on the server's side: a vote on masks, rounds of training, exchanges of weights; over any transport, resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor, fx, nn

from edgekit.core.errors import VerificationError
from edgekit.federated.conversation import Conversation
from edgekit.federated.layout import Layout
from edgekit.federated.messages import Offer
from edgekit.federated.programs import preprocessing_of, structure_of
from edgekit.federated.selection import Selection
from edgekit.federated.server_pruning import ServerPictures
from edgekit.federated.settings import Settings
from edgekit.federated.start import Start
from edgekit.federated.state import State
from edgekit.federated.training import Learnt, Round, train
from edgekit.federated.transport import Transport
from edgekit.pruning.masks import Masks, apply_masks, kept, kept_in_total, prunable
from edgekit.pruning.progressive import changes, exchanged, unit_of_turn
from edgekit.pruning.units import units_of

ADJUSTED = 0.75
"""Share of the rounds after which no weight is exchanged any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """`module` has the weights to begin with, and those learnt in the end; `network` is the program that clients are offered.

    With `masks` there is no vote. `judge` tells the accuracy of the network on the server's own pictures. `folder` keeps the
    state after each full round, from which the same course goes on. On its `pictures` the server prunes a candidate of its own; by
    them the statistics of a noised course begin, and the units are made in which those of secure sums are told. A client whose
    number is among `names` must go by that name.
    """

    module: fx.GraphModule
    input_shape: tuple[int, ...]
    network: bytes
    labels: tuple[str, ...]
    preprocessing: str
    settings: Settings
    masks: Masks | None = None
    judge: Callable[[fx.GraphModule], float] | None = None
    folder: Path | None = None
    pictures: ServerPictures | None = None
    names: Callable[[], Mapping[int, str]] = dict

    @classmethod
    def of(
        cls,
        begin: Start,
        settings: Settings,
        *,
        pictures: ServerPictures,
        judge: Callable[[fx.GraphModule], float] | None = None,
        folder: Path | None = None,
        names: Callable[[], Mapping[int, str]] = dict,
    ) -> Course:
        """That begins with a slice of a supernet."""
        return cls(
            module=begin.module,
            input_shape=begin.input_shape,
            network=structure_of(begin.module, begin.input_shape),
            labels=begin.labels,
            preprocessing=preprocessing_of(begin.input_shape),
            settings=settings,
            judge=judge,
            folder=folder,
            pictures=pictures,
            names=names,
        )

    def run(self, transport: Transport, progress: Callable[[str], None] = lambda _line: None) -> State:
        """Raises BoardError where too few clients answer, UsageError or BadInputError for a folder of another course or damaged."""
        layout, identity = Layout.of(self.module), self.identity()
        offer = Offer(course=identity, network=self.network, labels=self.labels, preprocessing=self.preprocessing)
        conversation = Conversation(
            transport=transport,
            offer=offer,
            layout=layout,
            settings=self.settings,
            input_shape=self.input_shape,
            names=self.names,
        )
        path = self.folder / "state.safetensors" if self.folder else None
        state = State.read(path, identity, layout) if path else None
        if state is None:
            progress("mask" if self.settings.noise_multiplier else "clients judge masks")
            selection = Selection(
                module=self.module,
                input_shape=self.input_shape,
                conversation=conversation,
                settings=self.settings,
                pictures=self.pictures,
            )
            state = selection.run() if self.masks is None else selection.of(self.masks)
            state.notes += self.settings.notes()
            self._keep(state, path, identity, layout)
        conversation.releases = state.releases
        conversation.keep = lambda: self._keep(state, path, identity, layout)
        while state.rounds < self.settings.rounds:
            self._round(state, conversation)
            conversation.keep()
            last = state.records[-1]
            accuracy = "" if last.accuracy is None else f", accuracy {last.accuracy:.1%}"
            loss = "" if last.loss is None else f", loss {last.loss:.3f}"
            progress(
                f"round {state.rounds} of {self.settings.rounds}: {len(last.clients)} clients{loss}{accuracy}, {last.seconds:.1f} s"
            )
        layout.load(self.module, state.masks, state.vector_V)
        return state

    def identity(self) -> str:
        """SHA-256 of the settings, the network that the course begins with, and the server's pictures."""
        facts = [self.settings.to_json(), self.labels, self.preprocessing, list(self.input_shape)]
        digest = hashlib.sha256(json.dumps(facts).encode())
        tensors = [*self.module.state_dict().items(), *sorted((self.masks or {}).items()), *self._picture_tensors()]
        for name, tensor in tensors:
            digest.update(name.encode() + np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
        return digest.hexdigest()

    def _picture_tensors(self) -> list[tuple[str, Tensor]]:
        if self.pictures is None:
            return []
        labels = [] if self.pictures.y_N is None else [("y_N", self.pictures.y_N)]
        return [("x_NCHW", self.pictures.x_NCHW), *labels]

    def _round(self, state: State, conversation: Conversation) -> None:
        layout = conversation.layout
        counts = self._counts(state)
        asked = Round(number=state.rounds, stage="round", masks=state.masks, vector_V=state.vector_V, counts=counts)
        learnt = train(self.module, conversation, self.settings, asked)
        layout.load(self.module, state.masks, learnt.vector_V)
        state.vector_V = learnt.vector_V
        exchanged_weights = self._exchange(state, counts, learnt, layout) if counts else 0
        self._check(state)
        state.rounds += 1
        accuracy = self.judge(self.module) if self.judge else None
        state.records.append(replace(learnt.record, accuracy=accuracy, exchanged=exchanged_weights))

    def _counts(self, state: State) -> dict[str, int]:
        """Weights to exchange, by layer of the unit whose turn it is."""
        settings, stop = self.settings, round(ADJUSTED * self.settings.rounds)
        if settings.density == 1 or state.rounds >= stop or state.rounds % settings.interval:
            return {}
        # Gradients of linear layers tell labels and images (arXiv 2209.05578), and never leave a client.
        names = [name for name in state.masks if not isinstance(_layer(self.module, name), nn.Linear)]
        units, counts = units_of(self.module, names), {}
        for name in unit_of_turn(units, state.rounds // settings.interval) if units else ():
            active = int(state.masks[name].sum())
            wanted = changes(state.rounds, stop, active, alpha=settings.exchange)
            counts[name] = min(wanted, state.masks[name].numel() - active)
        return {name: count for name, count in counts.items() if count}

    def _exchange(self, state: State, counts: dict[str, int], learnt: Learnt, layout: Layout) -> int:
        """The smallest weights of the unit for those of the largest gradients; how many."""
        weights, changed = prunable(self.module), 0
        for name, count in counts.items():
            mask = exchanged(weights[name], state.masks[name], learnt.grown[name], count)
            changed += int((mask & ~state.masks[name]).sum())
            state.masks[name] = mask
        apply_masks(self.module, state.masks)
        state.vector_V = layout.vector(self.module, state.masks)
        return changed

    def _keep(self, state: State, path: Path | None, identity: str, layout: Layout) -> None:
        if path is not None:
            state.write(path, identity, layout)

    def _check(self, state: State) -> None:
        total = kept_in_total((mask.numel() for mask in state.masks.values()), self.settings.density)
        if self.masks is None and kept(state.masks) != total:
            raise VerificationError(
                f"round {state.rounds}: {kept(state.masks)} weights are kept, expected {total}",
                hint="report it with the folder of the course: it is a bug in edgekit",
            )


def _layer(module: fx.GraphModule, name: str) -> nn.Module:
    return module.get_submodule(name.removesuffix("weight").removesuffix("."))
