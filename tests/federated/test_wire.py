"""Messages as bytes: what goes in comes out, and anything else is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from edgekit.core.errors import BadInputError
from edgekit.federated.messages import Declined, Training, Update
from edgekit.federated.wire import HEADER_LIMIT, decode, deflated, encode, inflated, is_a

ARRAY = np.array([1.5, -2.0], np.float32)
TRAINING = Training(
    course="c",
    number=3,
    nonce="n",
    mask=b"\x01\x02",
    vector_V=ARRAY,
    learning_rate=0.1,
    epochs=1,
    batch=8,
    seed=7,
    counts={"a.weight": 3},
    clip=0.0,
    noise_multiplier=0.0,
    senders=np.empty(0, np.int32),
)


def same(one: object, other: object) -> bool:
    return all(
        np.array_equal(a, b)
        if isinstance(a := getattr(one, field.name), np.ndarray)
        else a == getattr(other, field.name)
        for field in fields(one)  # type: ignore[arg-type]
        for b in [getattr(other, field.name)]
    )


@given(
    st.integers(0, 10**6),
    st.text(max_size=20),
    st.lists(st.floats(width=32, allow_nan=False), max_size=20),
    st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3),
)
def test_every_message_comes_back_as_it_was(
    number: int, text: str, values: list[float], counts: Mapping[str, int]
) -> None:
    message = Training(
        **{
            name: getattr(TRAINING, name)
            for name in ("epochs", "batch", "seed", "clip", "noise_multiplier", "learning_rate")
        },
        course=text,
        number=number,
        nonce=text,
        mask=text.encode(),
        senders=np.arange(len(values), dtype=np.int32),
        vector_V=np.array(values, np.float32),
        counts=counts,
    )
    assert same(message, decode(encode(message), Training))


@given(st.binary(max_size=300))
def test_noise_is_refused(content: bytes) -> None:
    with pytest.raises(BadInputError):
        decode(content, Training)


@given(st.data())
def test_a_message_cut_short_is_refused(data: st.DataObject) -> None:
    content = encode(TRAINING)
    with pytest.raises(BadInputError):
        decode(content[: data.draw(st.integers(0, len(content) - 1))], Training)


@given(st.data())
def test_a_changed_byte_is_refused_or_changes_a_value_alone(data: st.DataObject) -> None:
    content = bytearray(encode(TRAINING))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        message = decode(bytes(content), Training)
    except BadInputError:
        return
    assert isinstance(message.vector_V, np.ndarray)
    assert isinstance(message.number, int)


def test_another_message_is_refused_by_its_name() -> None:
    with pytest.raises(BadInputError, match="'Declined', expected Training"):
        decode(encode(Declined(course="c", reason="r")), Training)
    assert is_a(encode(Declined(course="c", reason="r")), Declined)


@pytest.mark.parametrize(
    ("name", "value"),
    [("number", "3"), ("number", True), ("learning_rate", None), ("counts", {"a": 1.5}), ("counts", [1]), ("nonce", 4)],
)
def test_a_field_of_another_type_is_refused(name: str, value: object) -> None:
    facts = {
        "number": 3,
        "learning_rate": 0.1,
        "epochs": 1,
        "batch": 8,
        "seed": 7,
        "counts": {},
        "clip": 0.0,
        "noise_multiplier": 0.0,
    }
    facts |= {"course": "c", "nonce": "n", name: value}
    arrays = {"vector_V": ARRAY, "mask": np.zeros(2, np.uint8)}
    content = save(arrays, {"message": "Training", "facts": json.dumps(facts)})
    with pytest.raises(BadInputError, match=name if name != "counts" else "counts"):
        decode(content, Training)


def test_an_array_of_another_type_is_refused() -> None:
    content = encode(TRAINING).replace(b'"F32"', b'"I32"')
    with pytest.raises(BadInputError, match="vector_V is int32, expected float32"):
        decode(content, Training)


def test_a_header_of_gigabytes_is_refused_unread() -> None:
    with pytest.raises(BadInputError, match="header"):
        decode((HEADER_LIMIT + 1).to_bytes(8, "little") + b"{}" * HEADER_LIMIT, Update)


@given(st.binary(max_size=2000))
def test_packing_can_be_undone(content: bytes) -> None:
    assert inflated(deflated(content), len(content)) == content


def test_what_unpacks_to_more_than_was_said_is_refused() -> None:
    bomb = deflated(bytes(10**7))
    assert len(bomb) < 10**5
    for size in (0, 1, 10**7 - 1, 10**7 + 1):
        with pytest.raises(BadInputError):
            inflated(bomb, size)
