"""A server of the smallest course there is: python echo_server.py FOLDER PORT NODES, which goes on at each line it reads."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from edgekit.cli.interruption import Interruption
from edgekit.federated.flower.server import serve
from edgekit.federated.transport import Kind, Transport

PAYLOAD = bytes(range(256)) * 400
"""Of client n: n times this. Some hundred kB, as a sparse network has."""


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def course(nodes: int) -> Callable[[Transport], None]:
    def run(transport: Transport) -> None:
        wait_for(transport, nodes)
        for kind in (Kind.STATISTICS, Kind.VOTE, Kind.TRAIN):
            requests = {client: PAYLOAD * client for client in transport.clients()}
            answers = transport.exchange(kind, requests, 60)
            say(echoes=[client for client, answer in answers.items() if answer == kind.encode() + requests[client]])
        say(done=True)
        for line in sys.stdin:
            wait_for(transport, int(line))
            say(clients=list(transport.clients()))

    return run


def wait_for(transport: Transport, nodes: int) -> None:
    while len(transport.clients()) != nodes:
        time.sleep(0.1)


if __name__ == "__main__":
    Interruption().listen()
    folder, port, nodes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    serve(
        course(nodes),
        keys=folder / "keys",
        state=folder / "state",
        port=port,
        ready=lambda superlink: say(pid=superlink.pid, port=superlink.ports.fleet, runtime=superlink.ports.runtime),
        report=lambda exchange: say(exchange=asdict(exchange)),
    )
