"""A request or an answer as a message of Flower: its kind is the message's type, its bytes lie in one record, untouched.

Statistics and votes are queries (`query.statistics`, `query.vote`), sparse gradients and weights travel with `train`.
"""

from __future__ import annotations

from flwr.app import ConfigRecord, Message, RecordDict

from edgekit.federated.transport import Kind

_RECORD, _PAYLOAD = "edgekit", "payload"


def type_of(kind: Kind) -> str:
    """Of the form that Flower dispatches on: a category, and for all but the training an action."""
    return "train" if kind is Kind.TRAIN else f"query.{kind}"


KIND_OF = {type_of(kind): kind for kind in Kind}


def content_of(payload: bytes) -> RecordDict:
    return RecordDict({_RECORD: ConfigRecord({_PAYLOAD: payload})})


def payload_of(message: Message) -> bytes | None:
    """None where it carries an error, or anything but one payload."""
    if message.has_error() or not message.has_content():
        return None
    records = message.content.config_records
    payload = records[_RECORD].get(_PAYLOAD) if set(message.content) == {_RECORD} and _RECORD in records else None
    return payload if isinstance(payload, bytes) else None
