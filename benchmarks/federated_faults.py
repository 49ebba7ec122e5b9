"""Clients and servers that fail, for the federated benchmarks: lost messages, a killed server, hostile updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from federated_data import Dealt
from torch import Tensor

from edgekit.federated.client import Client, Studied
from edgekit.federated.fixed_point import Ring
from edgekit.federated.messages import Masked, Networks, Training, Update
from edgekit.federated.secure_client import SecureSum
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


@dataclass(kw_only=True, slots=True)
class HostileSum(SecureSum):
    """The change is not the client's own once it is masked, and keeps to no clip: any integers are within the ring."""

    harmed: Callable[[Tensor], Tensor]

    def masked(self, request: Training | Networks, mask_sha256: str, vector_P: Ring) -> Masked:
        if isinstance(request, Networks):
            return SecureSum.masked(self, request, mask_sha256, vector_P)
        size, integers_P = len(request.vector_V), vector_P.copy()
        changed_V = self.harmed(torch.from_numpy(vector_P[:size].view(np.int32).astype(np.float64)))
        integers_P[:size] = changed_V.round().to(torch.int64).numpy().astype(np.uint32)
        return SecureSum.masked(self, request, mask_sha256, integers_P)


@dataclass(kw_only=True)
class Hostile:
    """A client that changes its update before it sends it, or what it learns from."""

    inner: Client
    harm: str
    generator: torch.Generator

    def answer(self, kind: Kind, request: bytes) -> bytes:
        content = self.inner.answer(kind, request)
        if self.harm == "label flip":
            return content
        if kind is Kind.KEYS and self.inner.secure_sum:
            one = self.inner.secure_sum
            self.inner.secure_sum = HostileSum(wanted=one.wanted, secrets=one.secrets, harmed=self.harmed)
        if kind is not Kind.TRAIN or not is_a(content, Update):
            return content
        update = decode(content, Update)
        return encode(replace(update, delta_V=self.harmed(torch.from_numpy(update.delta_V.copy())).numpy()))

    def harmed(self, delta_V: Tensor) -> Tensor:
        if self.harm == "noise":
            noise_V = torch.randn(delta_V.shape, generator=self.generator, dtype=delta_V.dtype)
            return noise_V * delta_V.norm() / delta_V.numel() ** 0.5 * 10
        return delta_V * {"sign flip": -5.0, "scaling": 1000.0}[self.harm]


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
