"""A client on a board: its pictures, its budget, and what it keeps between requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from platformdirs import user_state_path

from edgekit.core.errors import BadInputError, UsageError
from edgekit.devices.target import parse_target
from edgekit.federated.client import Client, LocalSamples, Studied
from edgekit.federated.costs import ClientBudget
from edgekit.federated.datasets import own_samples
from edgekit.federated.messages import Offer
from edgekit.federated.programs import keep_structure, read_program
from edgekit.federated.randomness import unpredictable
from edgekit.federated.simulator import one_thread
from edgekit.federated.transport import Kind
from edgekit.pruning.targets import Answers


def join_course(*, server: str, keys: Path, data: Path, budget: ClientBudget, store: Path | None = None) -> None:
    """Answers the server's requests until interrupted.

    Raises UsageError for what is no address of a server, BadInputError for keys or pictures that are no good.
    """
    from edgekit.federated.flower.client import join
    from edgekit.federated.keys import read_bundle

    host, _, port = server.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f'"{server}" is not the address of a server', hint="give HOST:PORT, such as fleet.example.org:8443"
        )
    client = client_of(
        name=read_bundle(keys).name, data=data, budget=budget, store=store or user_state_path("edgekit") / "federated"
    )

    def answer(kind: Kind, request: bytes) -> bytes:
        with one_thread():
            return client.answer(kind, request)

    join(answer, server=server, bundle=keys)


def client_of(*, name: str, data: Path, budget: ClientBudget, store: Path) -> Client:
    """With the pictures of the folder `data`; what it learns about courses lies in `store`. Raises BadInputError."""
    if not data.exists():
        raise BadInputError(
            f"{data} does not exist", hint="give a folder that holds a folder of pictures for each label"
        )
    kept = _Kept(data=data, store=store)
    return Client(
        name=name,
        study=kept.study,
        studied=kept.studied,
        samples_of=kept.samples_of,
        random_at=unpredictable,
        budget=budget,
    )


@dataclass(kw_only=True, slots=True)
class _Kept:
    """Networks by course, in files and in memory; the pictures, decoded once for each size."""

    data: Path
    store: Path
    networks: dict[str, Studied] = field(default_factory=dict)
    samples: dict[tuple[tuple[str, ...], int], LocalSamples] = field(default_factory=dict)

    def study(self, offer: Offer) -> Studied:
        program, facts = self._paths(offer.course)
        keep_structure(offer.network, program)
        facts.write_text(json.dumps({"labels": offer.labels, "preprocessing": offer.preprocessing}))
        self.networks.pop(offer.course, None)
        found = self.studied(offer.course)
        assert found is not None  # noqa: S101 (it has just been written)
        return found

    def studied(self, course: str) -> Studied | None:
        program, facts = self._paths(course)
        if course not in self.networks and program.is_file() and facts.is_file():
            record = json.loads(facts.read_text())
            scaling = json.loads(record["preprocessing"])
            self.networks[course] = Studied(
                module=read_program(program).requires_grad_(True),
                size=int(scaling["size"]),
                mean_std=None
                if (scaling["mean"], scaling["std"]) == ([0.0] * 3, [1.0] * 3)
                else (torch.tensor(scaling["mean"])[:, None, None], torch.tensor(scaling["std"])[:, None, None]),
                labels=tuple(record["labels"]),
                answers=Answers.LOGITS,
            )
        return self.networks.get(course)

    def samples_of(self, studied: Studied) -> LocalSamples:
        key = studied.labels, studied.size
        if key not in self.samples:
            self.samples[key] = own_samples(self.data, *key)
        return self.samples[key]

    def _paths(self, course: str) -> tuple[Path, Path]:
        if not (len(course) == 64 and set(course) <= set("0123456789abcdef")):
            raise BadInputError(f"a course called {course[:40]!r}", hint="expected 64 hexadecimal digits")
        self.store.mkdir(parents=True, exist_ok=True)
        return self.store / f"{course}.pt2", self.store / f"{course}.json"


def memory_of(target: str) -> int:
    """What a round may take of the least memory that the device is sold with: half. Raises UsageError for an unknown device."""
    return min(parse_target(target).device.ram_bytes) // 2
