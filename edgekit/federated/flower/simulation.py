"""A course whose clients are spread over the processes of a Ray cluster, by Flower's Simulation Runtime.

Ray pickles what it sends between the processes of one cluster, which is one user's own; nothing is read from elsewhere.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from edgekit.federated.client import Client
from edgekit.federated.flower.client import client_app
from edgekit.federated.flower.grid_transport import GridTransport
from edgekit.federated.flower.strategy import Course
from edgekit.federated.simulator import one_thread
from edgekit.federated.transport import Kind
from edgekit.pipeline.ray_cluster import ray_cluster

_PART, _PARTITION, _RECORD = "query.part", "partition-id", "edgekit"
_KEPT_CLIENTS = 64
_POLL_S = 0.05


def simulate_on_ray(course: Course, clients: Mapping[int, Client], *, address: str) -> None:
    """Runs a course to its end, one client a core at a time. What it raises comes out of here.

    Clients are sent to the cluster once, with their samples, and answer as in one process, to the bit where the machines add
    alike. Raises MissingExtraError, and UsageError where no cluster answers at `address`.
    """
    numbers = sorted(clients)
    with ray_cluster(address):
        import ray

        logging.getLogger("flwr").setLevel(logging.ERROR)
        handles = tuple(ray.put(clients[number]) for number in numbers)
        _run(course, _Part(handles=handles), numbers)


def _run(course: Course, part: _Part, numbers: list[int]) -> None:
    ended, raised = threading.Event(), []

    app = ServerApp()

    @app.main()
    def main(grid: Grid, _context: Context) -> None:
        try:
            course(GridTransport(grid, nodes_of=_nodes_of(grid, numbers, ended), ended=ended))
        except BaseException as error:  # Flower would log it, and raise another
            raised.append(error)

    try:
        run_simulation(
            app, part.app(), len(numbers), backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
        )
    finally:
        ended.set()
    if raised:
        raise raised[0]


def _nodes_of(grid: Grid, numbers: list[int], ended: threading.Event) -> Callable[[], dict[int, int]]:
    """Flower numbers its nodes at random, once its runtime is up; each says which part it plays."""
    while len(nodes := list(grid.get_node_ids())) < len(numbers):
        if ended.wait(_POLL_S):
            raise KeyboardInterrupt
    asked = [Message(RecordDict(), node, _PART) for node in nodes]
    parts = {
        int(reply.content.config_records[_RECORD][_PARTITION]): reply.metadata.src_node_id  # type: ignore[arg-type]
        for reply in grid.send_and_receive(asked)
    }
    node_of = {number: parts[part] for part, number in enumerate(numbers)}
    return lambda: node_of


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Of one node, which plays the client whose handle lies at the number of its partition."""

    handles: tuple[Any, ...]

    def app(self) -> ClientApp:
        app = client_app(self._answer)

        @app.query("part")
        def part(message: Message, context: Context) -> Message:
            told = ConfigRecord({_PARTITION: int(context.node_config[_PARTITION])})
            return Message(RecordDict({_RECORD: told}), reply_to=message)

        return app

    def _answer(self, kind: Kind, request: bytes, context: Context) -> bytes:
        client = _client(self.handles[int(context.node_config[_PARTITION])])
        with one_thread():
            return client.answer(kind, request)


@lru_cache(maxsize=_KEPT_CLIENTS)
def _client(handle: Any) -> Client:
    """In a process of the cluster, where it answers many requests."""
    import ray

    client: Client = ray.get(handle)
    return client
