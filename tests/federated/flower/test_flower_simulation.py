"""Clients on a Ray cluster of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from edgekit.core.errors import BadInputError, UsageError
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import simulate
from edgekit.federated.transport import Kind, Transport

pytest.importorskip("ray", reason="needs the extra ray")

from edgekit.federated.flower.simulation import simulate_on_ray


class StopError(Exception):
    """Raised by a course."""


def echoes(numbers: list[int]) -> dict[int, Any]:
    # Within a function: processes of the cluster cannot import a test.
    @dataclass(frozen=True)
    class Echo:
        """A client that answers with its name."""

        name: str

        def answer(self, kind: Kind, request: bytes) -> bytes:
            if request == b"nonsense":
                raise BadInputError("nonsense")
            return f"{self.name} {kind} ".encode() + request

    return {number: Echo(f"client {number}") for number in numbers}


def test_clients_answer_by_their_numbers_one_that_fails_is_missing_and_the_courses_own_error_comes_out() -> None:
    numbers = [3, 7, 20]
    answered: list[Mapping[int, bytes]] = []

    def run(transport: Transport) -> None:
        assert transport.clients() == numbers
        answered.append(transport.exchange(Kind.VOTE, {3: b"a", 7: b"nonsense", 20: b"b"}, 60))
        answered.append(transport.exchange(Kind.TRAIN, {7: b"c"}, 60))
        raise StopError

    with pytest.raises(StopError):
        simulate_on_ray(run, echoes(numbers), address="local")
    assert answered == [{3: b"client 3 vote a", 20: b"client 20 vote b"}, {7: b"client 7 train c"}]


def test_a_cluster_that_does_not_answer_is_said_so() -> None:
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        simulate_on_ray(lambda _transport: None, {}, address="127.0.0.1:9")


def test_secure_sums_are_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match="cannot be simulated on Ray"):
        simulate(task="all", data="nowhere", output="nowhere", settings=Settings(secure=True, clip=1.0), ray="local")
