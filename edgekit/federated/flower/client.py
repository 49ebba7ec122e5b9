"""A board's part, a process: what `edgekit federated client` runs. It imports nothing of a server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from edgekit.core.errors import BadInputError
from edgekit.federated.allow_list import now_utc
from edgekit.federated.flower.messages import KIND_OF, content_of, payload_of
from edgekit.federated.flower.node import FleetNode
from edgekit.federated.keys import read_bundle
from edgekit.federated.transport import Kind

Answer: TypeAlias = Callable[[Kind, bytes], bytes]
NodesAnswer: TypeAlias = Callable[[Kind, bytes, Context], bytes]
"""Of one of several nodes in a process; the context tells which."""


def join(answer: Answer, *, server: str, bundle: Path) -> None:
    """Answers a server's requests until interrupted. Raises BadInputError where the keys are no good or refused."""
    keys = read_bundle(bundle)
    if now_utc() >= datetime.fromisoformat(keys.expires_at):
        raise BadInputError(
            f"the key in {bundle} has expired on {keys.expires_at[:10]}",
            hint="have the node enrolled again on the server: edgekit federated keys enroll",
        )
    FleetNode(server=server, bundle=keys, app=client_app(lambda kind, request, _node: answer(kind, request))).serve()


def client_app(answer: NodesAnswer) -> ClientApp:
    """Answers every kind of request. What `answer` raises is the caller's to turn into an error reply."""
    app = ClientApp()

    def reply(message: Message, context: Context) -> Message:
        payload = payload_of(message)
        if payload is None:
            raise BadInputError(f"a message of type {message.metadata.message_type} carries no request")
        return Message(content_of(answer(KIND_OF[message.metadata.message_type], payload, context)), reply_to=message)

    for message_type in KIND_OF:
        category, _, action = message_type.partition(".")
        register = app.train if category == "train" else app.query
        (register(action) if action else register())(reply)
    return app
