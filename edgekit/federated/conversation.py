"""Who takes part in a course, and what was asked and answered: cohorts, bytes in both directions, clients left out and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from edgekit.core.errors import BoardError
from edgekit.federated.layout import Layout
from edgekit.federated.messages import Enrolled, Offer
from edgekit.federated.replies import Reader
from edgekit.federated.settings import Settings
from edgekit.federated.transport import Kind, Transport
from edgekit.federated.wire import encode
from edgekit.passes.fedtiny_clients import generator

QUORUM = 0.5
"""Share of the cohort, declining clients aside, without whose answers a round does not count."""


@dataclass(kw_only=True, slots=True)
class Conversation:
    """`known` are the clients that accepted the offer, by number; the counts of bytes are of the present round, `releases` of the
    course, by a client's name, and `keep` writes them down. `names` are those that clients were enrolled by, where they were."""

    transport: Transport
    offer: Offer
    layout: Layout
    settings: Settings
    input_shape: tuple[int, ...]
    known: dict[int, Enrolled] = field(default_factory=dict)
    reader: Reader = field(init=False)
    down_bytes: int = 0
    up_bytes: int = 0
    releases: dict[str, int] = field(default_factory=dict)
    keep: Callable[[], None] = field(default=lambda: None)
    names: Callable[[], Mapping[int, str]] = field(default=dict)

    def __post_init__(self) -> None:
        self.reader = Reader(course=self.offer.course, layout=self.layout)

    def begin_round(self) -> None:
        self.down_bytes = self.up_bytes = 0
        self.reader.left_out.clear()

    def cohort(self, *path: int | str) -> list[int]:
        """At most `per_round` of the clients that can be reached, drawn by `path` alone, in the order of their names.

        Raises BoardError where there is none.
        """
        reachable = sorted(self.transport.clients())
        if not reachable:
            raise BoardError(
                "no client can be reached", hint="start clients: edgekit federated client --server HOST:PORT"
            )
        order = torch.randperm(len(reachable), generator=generator(self.settings.seed, "cohort", *path)).tolist()
        drawn = [reachable[index] for index in order[: self.settings.per_round]]
        self._enrol([number for number in drawn if number not in self.known])
        return sorted((number for number in drawn if number in self.known), key=lambda number: self.known[number].name)

    def ask(self, kind: Kind, cohort: Sequence[int], request: bytes) -> dict[int, bytes]:
        """The answers, in the order of the cohort; whoever gives none is noted as left out."""
        return self.ask_each(kind, dict.fromkeys(cohort, request))

    def ask_each(self, kind: Kind, requests: Mapping[int, bytes]) -> dict[int, bytes]:
        """The same, of each client something of its own."""
        answers = self.transport.exchange(kind, requests, self.settings.timeout_s)
        self.down_bytes += sum(map(len, requests.values()))
        found = {number: answers[number] for number in requests if number in answers}
        self.up_bytes += sum(map(len, found.values()))
        for number in requests:
            if number not in found:
                self.reader.left_out[number] = "no answer in time"
        return found

    def enough(self, answers: int, cohort: Sequence[int]) -> bool:
        """Whether so many answers of the cohort count."""
        declined = sum(reason.startswith("declined") for reason in self.reader.left_out.values())
        return answers > 0 and answers >= QUORUM * (len(cohort) - declined)

    def release(self, cohort: Sequence[int], number: int) -> None:
        """So many releases are about to leave each of these clients, and count whatever comes of the round."""
        for name in (self.known[client].name for client in cohort):
            self.releases[name] = self.releases.get(name, 0) + number
        self.keep()

    def left_out(self) -> dict[str, str]:
        """By name, or number where it is not known."""
        return {
            self.known[number].name if number in self.known else str(number): reason
            for number, reason in self.reader.left_out.items()
        }

    def _enrol(self, new: Sequence[int]) -> None:
        if not new:
            return
        taken = {one.name: number for number, one in self.known.items()}
        reachable, names = set(self.transport.clients()), self.names()
        for number, one in self.reader.enrolled(self.ask(Kind.OFFER, new, encode(self.offer))).items():
            if one.name != names.get(number, one.name):
                self.reader.left_out[number] = f"it calls itself {one.name[:40]!r} and is enrolled as {names[number]!r}"
                continue
            former = taken.get(one.name)
            if former in reachable:
                self.reader.left_out[number] = f"the name {one.name[:40]!r} is taken"
                continue
            if former is not None:
                del self.known[former]  # it came back under another number
            self.known[number] = one
