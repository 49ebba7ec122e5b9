"""The server's side of a secure sum: it learns the mean of each of a few groups, and nothing of a client alone.

Robust means need single vectors, secure sums hide them: between the two stand groups, cut at random, whose means are exact
and known, and over which the robust mean is taken. A hostile client spoils its group alone (SHARE, arXiv 2110.02940). Clients
are grouped once their keys are there, so whoever is lost before costs nothing; a group of which too few are left is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from edgekit.core.errors import BadInputError
from edgekit.federated.agreement import SEALED_BYTES
from edgekit.federated.conversation import Conversation
from edgekit.federated.fixed_point import Ring
from edgekit.federated.messages import (
    Keys,
    KeysWanted,
    Masked,
    Networks,
    RevealWanted,
    Shares,
    SharesWanted,
    Training,
    Unmasking,
)
from edgekit.federated.releases import Known
from edgekit.federated.secure_aggregation import unmasked
from edgekit.federated.secure_messages import Advertisement, Cohort, Revealed, TooFewClientsError
from edgekit.federated.settings import Settings
from edgekit.federated.transport import Kind
from edgekit.federated.wire import encode
from edgekit.passes.fedtiny_clients import generator

A = TypeVar("A", Keys, Shares, Masked, Unmasking)


class Sum(Protocol):
    """What the integers of a cohort stand for."""

    @property
    def size(self) -> int: ...

    def decoded(self, sum_P: Ring, clients: tuple[int, ...]) -> Known:
        """Raises BadInputError for a sum that cannot be."""


@dataclass(kw_only=True, slots=True)
class _Group:
    """A cohort by numbers in the round, and what came of it: by sender the shares in the order of the cohort, masked vectors,
    and what survivors revealed."""

    cohort: Cohort
    sealed: dict[int, list[bytes]] = field(default_factory=dict)
    masked: dict[int, Ring] = field(default_factory=dict)
    revealed: dict[int, Revealed] = field(default_factory=dict)

    def inbox(self, client: int) -> bytes:
        place = self.cohort.clients.index(client)
        return b"".join(sealed[place] for sealed in self.sealed.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class SecureRound:
    """Of answers to one request of a kind, in the round `number`; `numbers` are the transport's, by a client's number in it."""

    conversation: Conversation
    settings: Settings
    kind: Kind
    request: Training | Networks
    number: int
    mask_sha256: str
    sum_of: Callable[[Cohort], Sum]
    numbers: tuple[int, ...]

    def means(self) -> list[Known]:
        """Of each group of which enough were left; of the others the clients are noted as left out."""
        groups = self._shared(self._grouped())
        groups = self._masked(groups)
        # Of a round that is tried again nothing is revealed: two sums that differ in one client tell what it sent.
        if not self.conversation.enough(sum(len(group.masked) for group in groups), self.numbers):
            return []
        self._revealed(groups)
        return [known for group in groups if (known := self._mean(group))]

    def _grouped(self) -> list[_Group]:
        """Clients whose keys came, dealt at random."""
        advertised: dict[int, Advertisement] = {}
        known: set[bytes] = set()

        def check(client: int, answer: Keys) -> None:
            one = Advertisement.from_bytes(answer.advertisement)
            keys = {one.sealing_key, one.masking_key, one.commitment}
            if one.client != client or known & keys or len(keys) != 3:
                raise BadInputError("keys under another number, or of another client")
            known.update(keys)
            advertised[client] = one

        course, number, nonce = self.request.course, self.number, self.request.nonce
        wanted = {
            client: KeysWanted(course=course, number=number, nonce=nonce, client=client)
            for client in range(len(self.numbers))
        }
        self._asked(Kind.KEYS, wanted, Keys, check)
        clients, minimum = sorted(advertised), self.settings.minimum
        if len(clients) < minimum:
            self._leave_out(clients, f"{len(clients)} clients are fewer than a secure sum of {minimum} needs")
            return []
        order = torch.randperm(len(clients), generator=generator(self.settings.seed, "groups", number)).numpy()
        parts = np.array_split(np.asarray(clients)[order], min(self.settings.groups, len(clients) // minimum))
        return [
            _Group(
                cohort=Cohort(
                    session=nonce.encode(),
                    minimum=minimum,
                    advertisements=tuple(advertised[client] for client in sorted(part.tolist())),
                )
            )
            for part in parts
        ]

    def _shared(self, groups: Sequence[_Group]) -> list[_Group]:
        wanted: dict[int, SharesWanted] = {}
        group_of: dict[int, _Group] = {}
        for group in groups:
            message = SharesWanted(course=self.request.course, nonce=self.request.nonce, cohort=group.cohort.to_bytes())
            wanted |= dict.fromkeys(group.cohort.clients, message)
            group_of |= dict.fromkeys(group.cohort.clients, group)

        def check(client: int, answer: Shares) -> None:
            if len(answer.sealed) != SEALED_BYTES * len(group_of[client].cohort.clients):
                raise BadInputError("shares that are not one for each client of the group")

        for client, answer in self._asked(Kind.SHARES, wanted, Shares, check).items():
            starts = range(0, len(answer.sealed), SEALED_BYTES)
            group_of[client].sealed[client] = [answer.sealed[first : first + SEALED_BYTES] for first in starts]
        return [group for group in groups if self._left(group, group.sealed)]

    def _masked(self, groups: Sequence[_Group]) -> list[_Group]:
        wanted: dict[int, Training | Networks] = {}
        group_of: dict[int, _Group] = {}
        for group in groups:
            message = replace(self.request, senders=np.asarray(list(group.sealed), np.int32))
            wanted |= dict.fromkeys(group.sealed, message)
            group_of |= dict.fromkeys(group.sealed, group)

        def check(client: int, answer: Masked) -> None:
            shape = (self.sum_of(group_of[client].cohort).size,)
            if answer.mask_sha256 != self.mask_sha256:
                raise BadInputError("the update belongs to another mask")
            if answer.masked_P.shape != shape:
                raise BadInputError(f"the masked update has shape {answer.masked_P.shape}, expected {shape}")

        for client, answer in self._asked(self.kind, wanted, Masked, check).items():
            group_of[client].masked[client] = answer.masked_P.view(np.uint32)
        return [group for group in groups if self._left(group, group.masked)]

    def _revealed(self, groups: Sequence[_Group]) -> None:
        wanted = {
            client: RevealWanted(
                course=self.request.course,
                nonce=self.request.nonce,
                survivors=np.asarray(list(group.masked), np.int32),
                inbox=group.inbox(client),
            )
            for group in groups
            for client in group.masked
        }

        def check(client: int, answer: Unmasking) -> None:
            if Revealed.from_bytes(answer.revealed).client != client:
                raise BadInputError("what another client should reveal")

        answers = self._asked(Kind.REVEAL, wanted, Unmasking, check)
        for group in groups:
            group.revealed = {
                client: Revealed.from_bytes(answers[client].revealed) for client in group.masked if client in answers
            }

    def _mean(self, group: _Group) -> Known | None:
        if not self._left(group, group.revealed):
            return None
        clients = tuple(group.masked)
        numbers = tuple(self.numbers[client] for client in clients)
        try:
            sum_P = unmasked(group.cohort, list(group.sealed), group.masked, list(group.revealed.values()))
            known = self.sum_of(group.cohort).decoded(sum_P, numbers)
        except BadInputError as error:
            self._leave_out(clients, error.message)
            return None
        for number in numbers:  # one that was lost after its vector had come takes part
            self.conversation.reader.left_out.pop(number, None)
        return known

    def _left(self, group: _Group, clients: Mapping[int, object]) -> bool:
        """Whether they are enough; where they are not, nobody of the group takes part."""
        try:
            group.cohort.require(list(clients))
        except TooFewClientsError as error:
            self._leave_out(group.cohort.clients, error.message)
            return False
        return True

    def _leave_out(self, clients: Sequence[int], reason: str) -> None:
        for client in clients:
            self.conversation.reader.left_out.setdefault(self.numbers[client], reason)

    def _asked(
        self, kind: Kind, wanted: Mapping[int, Any], answer: type[A], check: Callable[[int, A], None]
    ) -> dict[int, A]:
        """The answers that are in order, by a client's number in the round."""
        encoded = {id(one): encode(one) for one in wanted.values()}
        requests = {self.numbers[client]: encoded[id(one)] for client, one in wanted.items()}
        contents = self.conversation.ask_each(kind, requests)
        found: dict[int, A] = {}
        for client in wanted:
            number = self.numbers[client]
            content = {number: contents[number]} if number in contents else {}
            for one in self.conversation.reader.read(content, answer, partial(self._check, check, client)).values():
                found[client] = one
        return found

    def _check(self, check: Callable[[int, A], None], client: int, one: A) -> None:
        if one.nonce != self.request.nonce:
            raise BadInputError("the answer belongs to another request: an old one, or a replay")
        check(client, one)
