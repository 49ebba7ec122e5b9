"""What a course sees of nodes that fail, are late, or answer nonsense; and what is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

pytest.importorskip("flwr", reason="needs the extra federated")

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.federated.flower.client import client_app
from edgekit.federated.flower.grid_transport import Exchange, GridTransport
from edgekit.federated.flower.messages import content_of, payload_of, type_of
from edgekit.federated.transport import Kind

Behaviour = Callable[[Message], Message | None]


class FakeGrid:
    """Nodes in this process, numbered 100 + client; each does with a message as its behaviour says, None being silence."""

    def __init__(self, nodes: dict[int, Behaviour]) -> None:
        self._nodes = nodes
        self._replies: list[Message] = []
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=100 + client, name=str(client)) for client in self._nodes]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"to {message.metadata.dst_node_id}"
            reply = self._nodes[message.metadata.dst_node_id - 100](message)
            if reply is not None:
                self._replies.append(reply)
            yield message.metadata.message_id

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        wanted = set(message_ids)
        found = [reply for reply in self._replies if reply.metadata.reply_to_message_id in wanted]
        self._replies = [reply for reply in self._replies if reply not in found]
        return found


def echo(message: Message) -> Message:
    app = client_app(lambda kind, request, _context: kind.encode() + request)
    return app(message, None)  # type: ignore[arg-type]  (it looks at no context)


def fails(message: Message) -> Message:
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION), reply_to=message)


def is_silent(_: Message) -> None:
    return None


def answers_nonsense(message: Message) -> Message:
    return Message(RecordDict({"else": ConfigRecord({"payload": 3}), "arrays": ArrayRecord()}), reply_to=message)


def answers_no_bytes(message: Message) -> Message:
    content = content_of(b"")
    content.config_records["edgekit"]["payload"] = "text"
    return Message(content, reply_to=message)


def transport(nodes: dict[int, Behaviour], told: list[Exchange] | None = None) -> GridTransport:
    return GridTransport(FakeGrid(nodes), report=[].append if told is None else told.append)  # type: ignore[arg-type]


def test_whoever_fails_is_missing_and_nobody_raises() -> None:
    told: list[Exchange] = []
    nodes: dict[int, Behaviour] = {1: echo, 2: fails, 3: answers_nonsense, 4: answers_no_bytes, 5: echo}
    answers = transport(nodes, told).exchange(Kind.VOTE, dict.fromkeys(nodes, b"ask"), 5)
    assert answers == {1: b"voteask", 5: b"voteask"}
    assert (told[0].asked, told[0].answered, told[0].bytes_down, told[0].bytes_up) == (5, 2, 15, 14)


@pytest.mark.parametrize(("failures", "answered"), [(2, True), (100, False)])
def test_what_the_link_lost_halfway_is_sent_again_a_few_times(failures: int, answered: bool) -> None:
    left = [failures]

    class Losing(FakeGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            left[0] -= 1
            if left[0] >= 0:
                raise ObjectPushError("object", 1, "session")
            return super().push_messages(messages)

    course = GridTransport(Losing({1: echo, 2: echo}))  # type: ignore[arg-type]
    if answered:
        assert course.exchange(Kind.TRAIN, {1: b"x", 2: b"y"}, 5) == {1: b"trainx", 2: b"trainy"}
    else:
        with pytest.raises(ObjectPushError):
            course.exchange(Kind.TRAIN, {1: b"x"}, 5)


def test_it_waits_for_the_late_no_longer_than_said() -> None:
    begun_s = time.monotonic()
    assert transport({1: echo, 2: is_silent}).exchange(Kind.TRAIN, {1: b"x", 2: b"x"}, 0.5) == {1: b"trainx"}
    assert 0.5 <= time.monotonic() - begun_s < 2


def test_a_client_that_has_gone_is_asked_nothing() -> None:
    told: list[Exchange] = []
    course = transport({1: echo}, told)
    assert course.clients() == [1]
    assert course.exchange(Kind.TRAIN, {1: b"x", 7: b"x"}, 5) == {1: b"trainx"}
    assert (told[0].asked, told[0].bytes_down) == (2, 1)
    assert transport({}).exchange(Kind.TRAIN, {7: b"x"}, 5) == {}


@settings(deadline=None, max_examples=30)
@given(
    requests=st.dictionaries(st.integers(1, 40), st.binary(max_size=200), max_size=12),
    kind=st.sampled_from(Kind),
)
def test_bytes_arrive_as_they_left_in_the_order_of_clients(requests: dict[int, bytes], kind: Kind) -> None:
    told: list[Exchange] = []
    answers = transport(dict.fromkeys(requests, echo), told).exchange(kind, requests, 5)
    assert list(answers) == sorted(requests)
    assert answers == {client: kind.encode() + request for client, request in requests.items()}
    assert told[0].bytes_down == sum(map(len, requests.values()))
    assert told[0].bytes_up == sum(map(len, answers.values()))


def test_what_is_no_request_is_not_answered() -> None:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    empty = Message(RecordDict(), 5, type_of(Kind.VOTE))
    assert payload_of(empty) is None
    with pytest.raises(Exception, match="carries no request"):
        echo(empty)
