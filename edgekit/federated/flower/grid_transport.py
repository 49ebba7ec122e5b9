"""Requests to nodes and their answers back, over Flower's grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event

from flwr.app import Message
from flwr.serverapp.grid import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

from edgekit.federated.flower.messages import content_of, payload_of, type_of
from edgekit.federated.transport import Kind

TRIES = 5
"""At sending the requests of an exchange."""
# A grid is asked for answers; it does not tell of them.
_FIRST_POLL_S, _LAST_POLL_S, _SLOWER = 0.05, 0.5, 1.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One kind of request to some clients, as it went. Bytes are those of requests and answers; Flower adds some 2 kB to each."""

    kind: Kind
    asked: int
    answered: int
    bytes_down: int
    bytes_up: int
    seconds: float


class GridTransport:
    """A `Transport`. Clients are called by the numbers of their enrolment: Flower's own change with every server.

    `report` is told of each exchange. `nodes_of` gives Flower's number of each client that is here, where names of nodes do not.
    Once `ended` is set, no answer is waited for: KeyboardInterrupt is raised.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        report: Callable[[Exchange], None] = lambda _: None,
        nodes_of: Callable[[], Mapping[int, int]] | None = None,
        ended: Event | None = None,
    ) -> None:
        self._grid = grid
        self._report = report
        self._node_ids = nodes_of or self._named_nodes
        self._ended = ended or Event()

    def clients(self) -> Sequence[int]:
        """Those whose last sign of life is younger than two of its intervals."""
        return sorted(self._node_ids())

    def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
        """In the order of the clients' numbers. Whoever is gone, answers with an error or too late, is missing."""
        begun_s = time.monotonic()
        node_ids = self._node_ids()
        reachable = [client for client in sorted(requests) if client in node_ids]
        sent = self._push(kind, {client: requests[client] for client in reachable}, node_ids, timeout_s)
        answers = self._collect(sent, deadline_s=begun_s + timeout_s)
        self._report(
            Exchange(
                kind=kind,
                asked=len(requests),
                answered=len(answers),
                bytes_down=sum(len(requests[client]) for client in sent.values()),
                bytes_up=sum(len(answer) for answer in answers.values()),
                seconds=time.monotonic() - begun_s,
            )
        )
        return {client: answers[client] for client in sorted(answers)}

    def _push(
        self, kind: Kind, requests: Mapping[int, bytes], node_ids: Mapping[int, int], timeout_s: float
    ) -> dict[str, int]:
        """By the number of the message the client that it was sent to."""
        for tries_left in reversed(range(TRIES)):
            messages = [
                Message(content_of(request), node_ids[client], type_of(kind), ttl=timeout_s)
                for client, request in requests.items()
            ]
            try:
                sent = list(self._grid.push_messages(messages)) if messages else []
            except ObjectPushError:
                # Flower gives up its place where it has to connect anew in the middle of a message.
                if not tries_left:
                    raise
            else:
                return {message: client for message, client in zip(sent, requests, strict=True) if message}
        return {}

    def _collect(self, sent: Mapping[str, int], *, deadline_s: float) -> dict[int, bytes]:
        waiting, poll_s = dict(sent), _FIRST_POLL_S
        answers: dict[int, bytes] = {}
        while waiting:
            came = list(self._grid.pull_messages(set(waiting)))
            for reply in came:
                client = waiting.pop(reply.metadata.reply_to_message_id, None)
                payload = payload_of(reply)
                if client is not None and payload is not None:
                    answers[client] = payload
            left_s = deadline_s - time.monotonic()
            if not waiting or left_s <= 0:
                break
            poll_s = _FIRST_POLL_S if came else min(poll_s * _SLOWER, _LAST_POLL_S)
            if self._ended.wait(min(poll_s, left_s)):
                raise KeyboardInterrupt
        return answers

    def _named_nodes(self) -> dict[int, int]:
        """Flower's number of each client that is here. A node's name is the number of its enrolment."""
        return {int(node.name): node.node_id for node in self._grid.get_nodes() if node.name.isdecimal()}
