"""Clients that are lost, late, wrong or hostile: the course goes on, says whom it left out and why, and counts nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from federated_courses import SETTINGS, Recorded, accuracy, clients, course, samples, studied
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import BoardError
from edgekit.federated.messages import Declined, Enrolled, Losses, Statistics, Update
from edgekit.federated.simulate import simulated
from edgekit.federated.state import State
from edgekit.federated.transport import Kind
from edgekit.federated.wire import decode, encode

TEN = replace(SETTINGS, per_round=10, rounds=6)


@dataclass(kw_only=True)
class Faulty(Recorded):
    """Client `bad` sends what `fault` makes of its answers to `kind`; None loses it."""

    bad: tuple[int, ...] = (1,)
    kind: Kind = Kind.TRAIN
    fault: Callable[[bytes], bytes | None] = field(default=lambda content: content)

    def changed(self, kind: Kind, number: int, content: bytes) -> bytes | None:
        return self.fault(content) if number in self.bad and kind is self.kind else content


def update(**changed: object) -> Callable[[bytes], bytes]:
    """Of an update, with some fields changed; a function is given the old value."""

    def change(content: bytes) -> bytes:
        old = decode(content, Update)
        new = {name: one(getattr(old, name)) if callable(one) else one for name, one in changed.items()}
        return encode(replace(old, **new))  # type: ignore[arg-type]

    return change


REFUSED = {
    "NaN": (update(delta_V=lambda delta: np.full_like(delta, np.nan)), "not finite"),
    "infinite": (update(delta_V=lambda delta: np.full_like(delta, np.inf)), "not finite"),
    "another shape": (update(delta_V=lambda delta: delta[:-1]), "shape"),
    "two dimensions": (update(delta_V=lambda delta: delta[None]), "shape"),
    "another mask": (update(mask_sha256="0" * 64), "another mask"),
    "another round": (update(number=99), "another request"),
    "another nonce": (update(nonce="old"), "another request"),
    "another course": (update(course="other"), "another course"),
    "no samples": (update(samples=0), "samples"),
    "negative samples": (update(samples=-5), "samples"),
    "too many samples": (update(samples=10**12), "samples"),
    "a part that is none": (update(part="some"), "part"),
    "a loss that is none": (update(loss=float("nan")), "loss|cannot be read"),
    "gradients of kept weights": (update(index_A=lambda index: np.zeros_like(index)), "not pruned"),
    "gradients far outside": (update(index_A=lambda index: index + 10**8), "not pruned"),
    "too few gradients": (update(value_A=lambda value: value[:-1]), "shape"),
    "an empty answer": (lambda _content: b"", "cannot be read"),
    "noise": (lambda content: bytes(255 - one for one in content), "cannot be read"),
    "half an answer": (lambda content: content[: len(content) // 2], "cannot be read"),
    "another message": (lambda _content: encode(Enrolled(course="c", name="n")), "expected Update"),
    "nothing": (lambda _content: None, "no answer in time"),
    "a refusal": (lambda _content: encode(Declined(course="c", reason="no time")), "declined: no time"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_in_order_is_left_out_with_its_reason(name: str) -> None:
    fault, reason = REFUSED[name]
    one = replace(SETTINGS, rounds=1)
    transport = Faulty(inner=clients(), fault=fault)
    state = course(one).run(transport)
    (record,) = state.records
    assert record.clients == ("client 0", "client 2", "client 3")
    assert set(record.left_out) == {"client 1"}
    assert any(part in record.left_out["client 1"] for part in reason.split("|"))

    class Without(Recorded):
        def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
            answers = super().exchange(kind, requests, timeout_s)
            return {n: c for n, c in answers.items() if n != 1 or kind is not Kind.TRAIN}

    assert np.array_equal(state.vector_V, course(one).run(Without(inner=clients())).vector_V)


def test_a_replayed_answer_is_refused() -> None:
    """A client that sends its first answer again in every later round."""
    kept: list[bytes] = []

    def again(content: bytes) -> bytes:
        kept.append(content)
        return kept[0]

    state = course().run(Faulty(inner=clients(), fault=again))
    assert "client 1" in state.records[0].clients
    for record in state.records[1:]:
        assert "replay" in record.left_out["client 1"]


def test_an_update_a_thousand_times_too_long_hardly_moves_the_network() -> None:
    fault = update(delta_V=lambda delta: 1000 * delta)
    asked = replace(TEN, rounds=1, exchange=0.0)
    honest = course(asked).run(clients(10)).vector_V
    moved = course(asked).run(Faulty(inner=clients(10), fault=fault)).vector_V
    begin = (
        course(asked)
        .run(Faulty(inner=clients(10), bad=tuple(range(10)), fault=update(delta_V=lambda d: 0 * d)))
        .vector_V
    )
    assert np.linalg.norm(moved - honest) < 0.5 * np.linalg.norm(honest - begin)
    plain = course(replace(asked, trim=0.0, norm_limit=1e9)).run(Faulty(inner=clients(10), fault=fault)).vector_V
    assert np.linalg.norm(plain - honest) > 10 * np.linalg.norm(honest - begin)  # the test has power


@pytest.mark.parametrize("harm", ["sign", "noise", "statistics"])
def test_two_hostile_clients_of_ten_cost_little_accuracy(harm: str) -> None:
    rng = np.random.default_rng(0)
    faults = {
        "sign": update(delta_V=lambda delta: -10 * delta),
        "noise": update(delta_V=lambda delta: rng.normal(size=delta.shape).astype(np.float32)),
        "statistics": update(delta_V=lambda delta: np.concatenate([delta[:-32], np.full(32, 1e6, np.float32)])),
    }
    honest, attacked, unprotected = course(TEN), course(TEN), course(replace(TEN, trim=0.0, norm_limit=1e9))
    honest.run(clients(10))
    attacked.run(Faulty(inner=clients(10), bad=(3, 7), fault=faults[harm]))
    unprotected.run(Faulty(inner=clients(10), bad=(3, 7), fault=faults[harm]))
    assert accuracy(attacked.module) > accuracy(honest.module) - 0.05
    assert accuracy(unprotected.module) < accuracy(honest.module) - 0.2  # the test has power


def test_a_hostile_vote_does_not_choose_the_mask() -> None:
    def lie(content: bytes) -> bytes:
        losses = decode(content, Losses)
        worst = losses.loss_C == losses.loss_C.max()
        return encode(replace(losses, loss_C=np.where(worst, -1e30, 1e30).astype(np.float32)))

    asked = replace(TEN, rounds=1)
    honest = course(asked).run(clients(10))
    attacked = course(asked).run(Faulty(inner=clients(10), kind=Kind.VOTE, bad=(2,), fault=lie))
    assert honest.notes == attacked.notes


@pytest.mark.parametrize("kind", [Kind.STATISTICS, Kind.VOTE, Kind.OFFER])
@pytest.mark.parametrize(
    "fault", [lambda _: None, lambda _: b"x", lambda content: content[:-1]], ids=["lost", "bad", "cut"]
)
def test_a_client_may_be_lost_at_any_message(kind: Kind, fault: Callable[[bytes], bytes | None]) -> None:
    state = course().run(Faulty(inner=clients(), kind=kind, fault=fault))
    assert state.rounds == SETTINGS.rounds
    expected = 3 if kind is Kind.OFFER else 4
    assert all(len(record.clients) == expected for record in state.records)


def test_a_client_that_comes_back_under_another_number_takes_part_again() -> None:
    inner = clients(4)

    class Moving(Recorded):
        def clients(self) -> tuple[int, ...]:
            trained = sum(kind is Kind.TRAIN for kind, _, _ in self.requests)
            if trained == 8 and 1 in inner.clients_by_number:
                inner.clients_by_number[77] = inner.clients_by_number.pop(1)  # type: ignore[attr-defined]
            return tuple(inner.clients())

    state = course().run(Moving(inner=inner))
    assert all("client 1" in record.clients for record in state.records)


def test_two_clients_of_one_name_are_not_both_counted() -> None:
    transport = clients(4)
    shared = studied()
    transport.clients_by_number[4] = simulated("client 1", shared, samples(900, 960))  # type: ignore[index]
    state = course(replace(SETTINGS, per_round=5)).run(transport)
    for record in state.records:
        assert sorted(record.clients) == [f"client {index}" for index in range(4)]


def test_a_client_goes_by_the_name_it_was_enrolled_by() -> None:
    enrolled = {0: "client 0", 1: "client 1", 2: "pi-2"}  # client 3 joined by no list
    state = course(names=lambda: enrolled).run(clients(4))
    for record in state.records:
        assert sorted(record.clients) == ["client 0", "client 1", "client 3"]
        assert record.left_out.get("2") == "it calls itself 'client 2' and is enrolled as 'pi-2'"


def test_a_round_that_nobody_answers_is_tried_again_and_in_the_end_given_up() -> None:
    silent = Faulty(inner=clients(), bad=(0, 1, 2, 3), fault=lambda _: None)
    with pytest.raises(BoardError, match="too few clients answered"):
        course().run(silent)

    @dataclass(kw_only=True)
    class OnceSilent(Recorded):
        silent: bool = True

        def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
            answers = super().exchange(kind, requests, timeout_s)
            if kind is Kind.TRAIN and self.silent:
                self.silent = False
                return {}
            return answers

    state = course().run(OnceSilent(inner=clients()))
    assert np.array_equal(state.vector_V, course().run(clients()).vector_V)


@given(st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_a_third_of_the_clients_lost_at_random_messages_loses_no_round(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    class Lossy(Recorded):
        def changed(self, kind: Kind, number: int, content: bytes) -> bytes | None:  # noqa: ARG002
            return content if float(torch.rand(1, generator=generator)) > 0.3 else None

    state: State = course(replace(TEN, rounds=4)).run(Lossy(inner=clients(10)))
    assert [one.number for one in state.records] == [0, 1, 2, 3]
    for one in state.records:
        # Who was lost at the offer is known by number alone.
        assert {name.removeprefix("client ") for name in (*one.clients, *one.left_out)} == set("0123456789")
        assert not set(one.clients) & set(one.left_out)


def test_statistics_that_are_wrong_are_left_out() -> None:
    def broken(content: bytes) -> bytes:
        return encode(replace(decode(content, Statistics), moments_CS=np.zeros((1, 1), np.float32)))

    transport = Faulty(inner=clients(), kind=Kind.STATISTICS, fault=broken)
    assert course().run(transport).rounds == SETTINGS.rounds
