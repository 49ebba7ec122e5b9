"""Clients and servers that fail, for the federated benchmarks: lost messages, a killed server, hostile updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from federated_data import Dealt

from edgekit.federated.client import Client, Studied
from edgekit.federated.messages import Update
from edgekit.federated.simulate import simulated
from edgekit.federated.simulator import Simulator
from edgekit.federated.transport import Kind
from edgekit.federated.wire import decode, encode, is_a


def honest(dealt: Dealt, studied: Studied) -> dict[int, Client]:
    return {index: simulated(f"client {index:04}", studied, one) for index, one in enumerate(dealt.clients)}


@dataclass(kw_only=True)
class Lossy:
    """A transport that loses a share of the clients at every message, before it reaches them or after they answered."""

    inner: Simulator
    share: float
    generator: torch.Generator

    def clients(self) -> Sequence[int]:
        return self.inner.clients()

    def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
        drawn = torch.rand(len(requests), 2, generator=self.generator).tolist()
        arriving = {
            number: one
            for (number, one), (lost, when) in zip(requests.items(), drawn, strict=True)
            if lost >= self.share or when >= 0.5
        }
        returning = {number for number, (lost, _) in zip(requests, drawn, strict=True) if lost >= self.share}
        return {n: one for n, one in self.inner.exchange(kind, arriving, timeout_s).items() if n in returning}


class KilledError(Exception):
    """The server's process ends here."""


@dataclass(kw_only=True)
class Deadly:
    """A transport during one of whose messages the server is killed, `left` messages from now."""

    inner: Simulator
    left: int

    def clients(self) -> Sequence[int]:
        return self.inner.clients()

    def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
        self.left -= 1
        answers = self.inner.exchange(kind, requests, timeout_s)
        if self.left == 0:
            raise KilledError
        return answers


@dataclass(kw_only=True)
class Hostile:
    """A client that changes its update before it sends it, or what it learns from."""

    inner: Client
    harm: str
    generator: torch.Generator

    def answer(self, kind: Kind, request: bytes) -> bytes:
        content = self.inner.answer(kind, request)
        if kind is not Kind.TRAIN or self.harm == "label flip" or not is_a(content, Update):
            return content
        update = decode(content, Update)
        delta = torch.from_numpy(update.delta_V.copy())
        if self.harm == "noise":
            changed = torch.randn(delta.shape, generator=self.generator) * delta.norm() / delta.numel() ** 0.5 * 10
        else:
            changed = delta * {"sign flip": -5.0, "scaling": 1000.0}[self.harm]
        return encode(replace(update, delta_V=changed.numpy()))


def with_hostile(harm: str, share: float, seed: int, dealt: Dealt, studied: Studied) -> dict[int, Client]:
    """Every so many clients one that does harm."""
    clients = honest(dealt, studied)
    generator = torch.Generator().manual_seed(seed)
    bad = torch.randperm(len(clients), generator=generator)[: round(share * len(clients))].tolist()
    for index in bad:
        samples = dealt.clients[index]
        if harm == "label flip":
            clients[index] = simulated(
                clients[index].name, studied, replace(samples, y_N=dealt.labels - 1 - samples.y_N)
            )
        clients[index] = Hostile(inner=clients[index], harm=harm, generator=generator)  # type: ignore[assignment]
    return clients


def without_hostile(share: float, seed: int, dealt: Dealt, studied: Studied) -> dict[int, Client]:
    """The others of `with_hostile`: what the pictures of those that do harm are worth."""
    everyone = with_hostile("sign flip", share, seed, dealt, studied)
    return {index: one for index, one in everyone.items() if not isinstance(one, Hostile)}
