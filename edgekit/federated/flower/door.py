"""The fleet's port: TLS or nothing, and who fails at it is written down.

asyncio drops a connection whose handshake fails without a word; here each connection is accepted first and wrapped after.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from edgekit.federated.flower.access_log import AccessLog

_HANDSHAKE_S = 10.0
_BACKLOG = 512
# A full table of files, or a peer that is gone before it was let in.
_PAUSE_S = 0.1


class Door:
    """`protocol` makes what speaks HTTP to one peer."""

    def __init__(
        self, listener: socket.socket, *, tls: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol], log: AccessLog
    ) -> None:
        self._listener = listener
        self._tls = tls
        self._protocol = protocol
        self._log = log
        self._entering: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        try:
            while True:
                try:
                    connection, address = await loop.sock_accept(self._listener)
                except OSError:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                entering = loop.create_task(self._enter(connection, f"{address[0]}:{address[1]}"))
                self._entering.add(entering)
                entering.add_done_callback(self._entering.discard)
        finally:
            for entering in self._entering:
                entering.cancel()

    async def _enter(self, connection: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=_HANDSHAKE_S
            )
        except ssl.SSLError as error:
            self._log.refused(_handshake_failure(error), peer=peer)
        except OSError:  # gone, or silent for longer than a handshake may take
            self._log.refused("no TLS handshake", peer=peer)


def listen(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _handshake_failure(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in {
        "HTTP_REQUEST",
        "WRONG_VERSION_NUMBER",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
    }:
        return "plain text"
    return f"TLS handshake: {reason.replace('_', ' ').lower() or 'failed'}"
