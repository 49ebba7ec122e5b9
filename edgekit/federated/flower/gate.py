"""What a SuperLink answers, and to whom.

Flower serves three interfaces on one port: the fleet's, that of server programs (Runtime), and that of administrators (Control),
which in the free edition asks for no password. Here the fleet's port answers the fleet alone, and only keys on the allow-list; the
port of the server's own program answers that program alone; the administrators' interface answers nobody.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER

from edgekit.federated.allow_list import LiveAllowList, Node, Standing, fingerprint, now_utc
from edgekit.federated.flower.access_log import AccessLog

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED_HEADER = "edgekit-refused"
_KEY_HEADER = FLEET_HTTP_PUBLIC_KEY_HEADER.encode()
_FLEET, _RUNTIME = "/v1/fleet/", "/v1/runtime/"


class Gate:
    """An ASGI application before Flower's. `admit` and `dismiss` are told of a node when it may enter, and when no longer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        fleet_port: int,
        allow_list: LiveAllowList,
        log: AccessLog,
        admit: Callable[[Node], None],
        dismiss: Callable[[Node], None],
    ) -> None:
        self._app = app
        self._fleet_port = fleet_port
        self._allow_list = allow_list
        self._log = log
        self._admit = admit
        self._dismiss = dismiss
        self._inside: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http" or not scope["path"].startswith(self._served(scope)):
            await self._refuse("nothing is served here", scope, send, code=404, detail=scope["path"][:80])
        elif scope["server"][1] != self._fleet_port:
            await self._app(scope, receive, send)
        else:
            await self._serve_fleet(scope, receive, send)

    def _served(self, scope: Scope) -> str:
        return _FLEET if scope["server"][1] == self._fleet_port else _RUNTIME

    async def _serve_fleet(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _presented_key(scope)
        node = None if key is None else self._allow_list.current().holder_of(key)
        if key is None:
            return await self._refuse("no key", scope, send)
        if node is None:
            return await self._refuse(f"key {fingerprint(key)} is not enrolled", scope, send)
        standing = node.standing(now_utc())
        if standing is not Standing.ENROLLED:
            if node.number in self._inside:
                self._inside.discard(node.number)
                self._dismiss(node)
            return await self._refuse(f'key {node.fingerprint} of "{node.name}" is {standing}', scope, send)
        if node.number not in self._inside:
            self._admit(node)
            self._inside.add(node.number)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(message["status"], node, scope)
            await send(message)

        return await self._app(scope, receive, watched)

    def _note(self, status: int, node: Node, scope: Scope) -> None:
        who = f'"{node.name}" (node {node.number}, key {node.fingerprint})'
        if status == 401:
            self._log.refused(f"{who}: its signature, its clock or its session is not valid", peer=_peer(scope))
        elif status == 200 and scope["path"] == _FLEET + "activate-node":
            self._log.admitted(who, peer=_peer(scope))

    async def _refuse(self, reason: str, scope: Scope, send: Send, *, code: int = 403, detail: str = "") -> None:
        """`reason` is told, `detail` only written down: it may be the peer's own words."""
        self._log.refused(f"{reason} {detail}".rstrip(), peer=_peer(scope))
        if scope["type"] == "http":
            headers = [(REFUSED_HEADER.encode(), reason.encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": code, "headers": headers})
            await send({"type": "http.response.body"})


def _presented_key(scope: Scope) -> bytes | None:
    presented = next((value for name, value in scope["headers"] if name == _KEY_HEADER), None)
    try:
        return None if presented is None else base64.b64decode(presented, validate=True)
    except binascii.Error:
        return None


def _peer(scope: Scope) -> str:
    client: Any = scope.get("client")
    return "unknown" if client is None else f"{client[0]}:{client[1]}"
