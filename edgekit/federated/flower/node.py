"""A node of Flower's fleet in one process: it fetches requests, lets a ClientApp answer them and sends the answers.

Flower's own SuperNode starts a fresh Python for every message, runs in it whatever code the server sent, and looks for them every 3
seconds. Here the app is loaded once, is the one installed on the board, and no port of the board is opened.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import httpx
from flwr.app import Context, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from edgekit.core.errors import BadInputError
from edgekit.federated.flower.gate import REFUSED_HEADER
from edgekit.federated.keys import Bundle

LOG = logging.getLogger("edgekit.federated")
# The least that Flower takes: a node that fell silent is missed after two of them.
_HEARTBEAT_S = 10
# Right after a message the next is near; while others train it is not.
_FIRST_POLL_S, _LAST_POLL_S, _SLOWER = 0.1, 2.0, 1.3
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 5.0
_AWAY = (httpx.TransportError, httpx.HTTPStatusError)
_T = TypeVar("_T")


class FleetNode:
    """`server` is host:port, by a name that its certificate holds."""

    def __init__(self, *, server: str, bundle: Bundle, app: ClientApp) -> None:
        self._app = app
        self._server = server
        self._public_key = public_key_to_bytes(bundle.private_key.public_key())
        self._client = FleetHttpClient.from_server_address(
            server,
            insecure=False,
            root_certificates=bundle.authority,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(bundle.private_key, bundle.private_key.public_key()),
            ],
        )
        self._node: Node | None = None
        self._ended = threading.Event()

    def serve(self) -> None:
        """Until interrupted. A server that is away is waited for.

        Raises BadInputError where it refuses the key, or is not the one whose certificate the bundle trusts.
        """
        heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        heartbeat.start()
        poll_s, retry_s = _FIRST_POLL_S, _FIRST_RETRY_S
        try:
            while True:
                try:
                    node = self._node or self._enter()
                    message = self._fetch(node)
                    if message is not None:
                        self._send(node, self._answer(message))
                except _AWAY as error:
                    self._judge(error)
                    LOG.info("the server is away: again in %.1f s", retry_s)
                    self._ended.wait(retry_s)
                    retry_s = min(2 * retry_s, _LAST_RETRY_S)
                except (ObjectPullError, ObjectPushError) as error:  # the request is no longer wanted
                    LOG.info("dropped: %s", error)
                else:
                    retry_s = _FIRST_RETRY_S
                    poll_s = _FIRST_POLL_S if message is not None else min(poll_s * _SLOWER, _LAST_POLL_S)
                    self._ended.wait(poll_s)
        finally:
            self._ended.set()
            self._leave()

    def _enter(self) -> Node:
        request = ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=_HEARTBEAT_S)
        self._node = node = Node(node_id=self._client.ActivateNode(request).node_id)
        LOG.info("taking part at %s", self._server)
        return node

    def _leave(self) -> None:
        node, self._node = self._node, None
        try:
            if node is not None:
                self._client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))
        except _AWAY as error:
            LOG.info("left without a word: %s", type(error).__name__)
        finally:
            self._client.close()

    def _fetch(self, node: Node) -> Message | None:
        response = self._client.PullMessages(PullMessagesRequest(node=node))
        if not response.messages_list:
            return None
        header, tree = message_from_proto(response.messages_list[0]), response.message_object_trees[0]
        run_id = header.metadata.run_id
        message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(partial(_insist, self._client.PullObject), node, run_id),
            make_confirm_message_received_fn_protobuf(self._client.ConfirmMessageReceived, node, run_id),
            return_type=Message,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id  # a message does not hold its own
        return message

    def _answer(self, message: Message) -> Message:
        """Whatever the app raises goes no further than this board: the server learns that there is no answer."""
        metadata = message.metadata
        context = Context(
            run_id=metadata.run_id, node_id=metadata.dst_node_id, node_config={}, state=RecordDict(), run_config={}
        )
        begun_s = time.monotonic()
        try:
            reply = self._app(message, context)
        except Exception:
            LOG.exception("no answer to %s", metadata.message_type)
            reply = Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION), reply_to=message)
        LOG.info("%s: %.1f s", metadata.message_type, time.monotonic() - begun_s)
        return reply

    def _send(self, node: Node, reply: Message) -> None:
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            tree: ObjectTree = get_object_tree(reply)
            request = PushMessagesRequest(
                node=node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[tree],
                clientapp_runtime_list=[0.0],
            )
            response = _insist(self._client.PushMessages, request)
            push_objects(
                get_all_nested_objects(reply),
                make_push_object_fn_protobuf(
                    partial(_insist, self._client.PushObject), node, reply.metadata.run_id, response.session_id
                ),
                object_ids_to_push=set(response.objects_to_push),
            )

    def _beat(self) -> None:
        while not self._ended.wait(_HEARTBEAT_S * 0.5):
            node = self._node
            if node is None:
                continue
            try:
                self._client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=node, heartbeat_interval=_HEARTBEAT_S))
            except (*_AWAY, RuntimeError) as error:  # RuntimeError: the client has been closed meanwhile
                LOG.debug("no heartbeat: %s", type(error).__name__)

    def _judge(self, error: Exception) -> None:
        """Raises where waiting will not help; forgets its session where the server no longer knows it."""
        if isinstance(error, httpx.HTTPStatusError):
            reason = error.response.headers.get(REFUSED_HEADER)
            if reason is not None:
                raise BadInputError(
                    f"{self._server} refuses this node: {reason}",
                    hint="have it enrolled on the server: edgekit federated keys enroll",
                ) from error
            if error.response.status_code == httpx.codes.UNAUTHORIZED:
                if self._node is None:
                    LOG.warning("the server takes no signature of this board: is its clock right?")
                self._node = None
        elif _is_wrong_certificate(error):
            raise BadInputError(
                f"{self._server} is not the server of this node's keys: {error}",
                hint="call it by a name that its certificate holds, or have the node enrolled again",
            ) from error


def _insist(call: Callable[..., _T], *arguments: object) -> _T:
    """What has been trained for minutes is not lost to one lost packet."""
    wait_s = _FIRST_RETRY_S
    while True:
        try:
            return call(*arguments)
        except httpx.TransportError:
            if wait_s > _LAST_RETRY_S:
                raise
        time.sleep(wait_s)
        wait_s *= 2


def _is_wrong_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
