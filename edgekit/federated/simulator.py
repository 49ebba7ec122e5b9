"""All clients in this process, one after another: the same code on both sides as over a network, and the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from edgekit.core.errors import EdgekitError
from edgekit.federated.client import Client
from edgekit.federated.transport import Kind


@dataclass(kw_only=True, slots=True)
class Simulator:
    """A transport to clients in memory. `down_bytes` and `up_bytes` are what it carried in all."""

    clients_by_number: Mapping[int, Client]
    down_bytes: int = field(default=0)
    up_bytes: int = field(default=0)

    def clients(self) -> Sequence[int]:
        return tuple(self.clients_by_number)

    def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:  # noqa: ARG002
        answers = {}
        with one_thread():
            for number, request in requests.items():
                self.down_bytes += len(request)
                try:
                    answers[number] = self.clients_by_number[number].answer(kind, request)
                except EdgekitError:
                    continue  # over a network, too, nothing comes back
                self.up_bytes += len(answers[number])
        return answers


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums of one thread do not depend on how many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
