"""Flower's SuperLink with a gate before it, as a process of its own: python -m edgekit.federated.flower.superlink STATE

It ends when its standard input does: with the process that started it, whatever ended that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvicorn
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID, TaskType
from flwr.supercore.fab import Fab
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app

from edgekit.federated.allow_list import LiveAllowList, Node
from edgekit.federated.flower.access_log import FILE as ACCESS_LOG
from edgekit.federated.flower.access_log import AccessLog
from edgekit.federated.flower.door import Door, listen
from edgekit.federated.flower.gate import Gate
from edgekit.federated.flower.settings import SECRET, Ports, read_settings
from edgekit.federated.keys import ServerKeys

_LOOPBACK = "127.0.0.1"
_POLL_S = 0.01


def main(state: Path) -> None:
    settings = read_settings(state)
    keys = ServerKeys(folder=Path(settings.keys))
    log = AccessLog(state / ACCESS_LOG)
    flower = create_app(_flower_config(secret=(state / SECRET).read_bytes()), SuperLinkLifespan)
    link: LinkState = flower.state.linkstate_factory.state()
    _start_run(link)
    with listen(settings.host, settings.port) as fleet, listen(_LOOPBACK, 0) as runtime:
        ports = Ports(fleet=fleet.getsockname()[1], runtime=runtime.getsockname()[1])
        gate = Gate(
            flower,
            fleet_port=ports.fleet,
            allow_list=LiveAllowList(keys.folder),
            log=log,
            admit=lambda node: _register(link, node),
            dismiss=lambda node: _leave(link, node),
        )
        config = uvicorn.Config(
            gate,
            ssl_certfile=keys.certificate,
            ssl_keyfile=str(keys.key),
            ws="none",
            access_log=False,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=0,  # nodes keep their connections open
        )
        asyncio.run(_serve(uvicorn.Server(config), fleet, runtime, log=log, ready=lambda: ports.write(state)))


async def _serve(
    server: uvicorn.Server, fleet: socket.socket, runtime: socket.socket, *, log: AccessLog, ready: Callable[[], None]
) -> None:
    """The server's own program is answered by uvicorn's listener, the fleet by ours."""
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), lambda: setattr(server, "should_exit", not os.read(sys.stdin.fileno(), 1)))
    serving = loop.create_task(server.serve(sockets=[runtime]))
    while not server.started and not serving.done():
        await asyncio.sleep(_POLL_S)
    config = server.config
    http: Any = config.http_protocol_class
    door = Door(
        fleet,
        tls=cast(ssl.SSLContext, config.ssl),
        protocol=lambda: http(config=config, server_state=server.server_state, app_state=server.lifespan.state),
        log=log,
    )
    entering = loop.create_task(door.serve())
    ready()
    try:
        await serving
    finally:
        entering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await entering


def _flower_config(*, secret: bytes) -> SuperLinkLifespanConfig:
    """Nodes are known before they come; the server's program runs elsewhere and shows the secret; nothing is installed or kept."""
    return SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=_LOOPBACK,
        port=0,
        insecure=False,
        certificates=None,
        superexec_auth_secret=secret,
        authn_plugin=NoOpControlAuthnPlugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type="grpc-rere",
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=None,
        ssl_certfile=None,
        ssl_keyfile=None,
        database=FLWR_IN_MEMORY_DB_NAME,
        isolation="process",
        runtime_dependency_install=False,
    )


def _start_run(link: LinkState) -> None:
    """One run, of an app without a line of code: what runs is what each side has installed."""
    empty = Fab(hash_str=hashlib.sha256(b"").hexdigest(), content=b"", verifications={})
    link.store_app(empty, NOOP_FEDERATION_ID, "@edgekit/federated", TaskType.SERVER_APP, NOOP_FLWR_AID)
    link.create_run(
        "edgekit/federated", "", empty.hash_str, {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
    )


def _register(link: LinkState, node: Node) -> None:
    key = node.public_key.encode()
    if link.get_node_id_by_public_key(key) is None:
        link.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, 0, name=str(node.number))


def _leave(link: LinkState, node: Node) -> None:
    node_id = link.get_node_id_by_public_key(node.public_key.encode())
    if node_id is not None:
        link.deactivate_node(node_id)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
