"""Votes whose sums are secure: what the server gets to know is what it would have worked out from open answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from federated_courses import LABELS, SETTINGS, SHAPE, Recorded, clients, course, network, samples
from federated_courses import studied as studied_network
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from edgekit.core.errors import BoardError
from edgekit.federated.conversation import Conversation
from edgekit.federated.layout import Layout
from edgekit.federated.messages import Losses, Masked, Offer, RevealWanted, Statistics
from edgekit.federated.selection import ROUNDS_FOR_TRIALS, Selection
from edgekit.federated.server_pruning import ServerPictures
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import simulated
from edgekit.federated.simulator import Simulator
from edgekit.federated.state import State
from edgekit.federated.transport import Kind, Transport
from edgekit.federated.votes import Vote
from edgekit.federated.wire import decode, encode
from edgekit.pruning.masks import Masks

OPEN = replace(SETTINGS, per_round=10, trim=0.0)
SECURE = replace(OPEN, secure=True, groups=1, clip=1.0)
KINDS = (Kind.STATISTICS, Kind.VOTE)


@dataclass(kw_only=True)
class Faulty(Recorded):
    """Clients `bad` send what `fault` makes of their answers to `kind`, so many times; None loses it."""

    bad: tuple[int, ...] = (1,)
    kind: Kind = Kind.VOTE
    fault: Callable[[bytes], bytes | None] = field(default=lambda _content: None)
    times: int = 10**6

    def changed(self, kind: Kind, number: int, content: bytes) -> bytes | None:
        if number not in self.bad or kind is not self.kind or not self.times:
            return content
        self.times -= 1
        return self.fault(content)


def conversation(transport: Transport, asked: Settings) -> Conversation:
    offer = Offer(course="c", network=b"", labels=LABELS, preprocessing="")
    return Conversation(
        transport=transport, offer=offer, layout=Layout.of(network()), settings=asked, input_shape=SHAPE
    )


def drawn_masks(seed: int) -> Masks:
    """Half of every layer, so that all networks have vectors of one length."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, shape in Layout.of(network()).pruned:
        number = int(np.prod(shape))
        chosen = torch.randperm(number, generator=generator) < number // 2
        masks[name] = chosen.view(shape)
    return masks


def voted(asked: Settings, transport: Transport, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Moments and losses of three networks."""
    one = Vote(conversation=conversation(transport, asked), settings=asked)
    layout, module = one.conversation.layout, network()
    masks_C = [drawn_masks(3 * seed + place) for place in range(3)]
    vector_CV = np.stack([layout.vector(module, masks) for masks in masks_C])
    return one.moments(masks_C, vector_CV), np.asarray(one.losses(masks_C, vector_CV))


def holding(sizes: list[int]) -> Simulator:
    """Clients of so many digits each, of 1,197 in all."""
    shared, starts = studied_network(), np.cumsum([600, *sizes]).tolist()
    return Simulator(
        clients_by_number={
            number: simulated(f"client {number}", shared, samples(start, start + size))
            for number, (start, size) in enumerate(zip(starts, sizes, strict=False))
        }
    )


@settings(deadline=None, max_examples=15)
@given(sizes=st.lists(st.integers(20, 39), min_size=6, max_size=10), groups=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_secure_vote_is_the_open_one_but_for_rounding(sizes: list[int], groups: int, seed: int) -> None:
    """Whatever the samples (up to twice the median, where open ones are bounded), the groups and the networks."""
    opened_CS, opened_C = voted(OPEN, holding(sizes), seed)
    found_CS, found_C = voted(replace(SECURE, groups=groups), holding(sizes), seed)
    assert np.allclose(found_CS, opened_CS, rtol=1e-4, atol=1e-4)
    assert np.allclose(found_C, opened_C, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("first", [False, True])
def test_a_secure_course_begins_with_the_mask_that_an_open_one_votes_for(first: bool) -> None:
    """With pictures of nobody's data, whose statistics give the units, and without."""
    asked = replace(OPEN, rounds=1, candidates=6, exchange=0.0)
    given_ = {"pictures": ServerPictures(x_NCHW=samples(0, 100).x_N)} if first else {}
    opened, found = (
        course(asked).run(clients(8)),
        course(replace(asked, secure=True, clip=50.0, groups=2), **given_).run(clients(8)),
    )
    assert found.notes[0] == opened.notes[0]
    assert "voted for among 6" in found.notes[0]
    assert all(torch.equal(found.masks[name], opened.masks[name]) for name in opened.masks)


def test_noise_leaves_no_vote() -> None:
    transport = Recorded(inner=clients(8))
    state = course(replace(SECURE, rounds=1, noise_multiplier=0.1)).run(transport)
    assert "without a vote" in state.notes[0]
    assert not {kind for kind, _, _ in transport.requests} & set(KINDS)


def test_the_server_does_not_see_what_one_client_found() -> None:
    transport = Recorded(inner=clients(8))
    voted(SECURE, transport)
    for kind in KINDS:
        seen = [decode(content, Masked).masked_P for one, _, content in transport.answers if one is kind]
        assert len(seen) == 8
        assert chisquare(np.bincount(np.concatenate(seen).view(np.uint8) >> 4, minlength=16)).pvalue > 1e-6
    opened = Recorded(inner=clients(8))
    voted(OPEN, opened)
    assert all(decode(content, Losses) for kind, _, content in opened.answers if kind is Kind.VOTE)
    assert all(decode(content, Statistics) for kind, _, content in opened.answers if kind is Kind.STATISTICS)


@pytest.mark.parametrize("kind", [Kind.KEYS, Kind.SHARES, *KINDS, Kind.REVEAL])
def test_a_client_may_be_lost_at_any_step_of_a_vote(kind: Kind) -> None:
    found_CS, found_C = voted(SECURE, Faulty(inner=clients(6), kind=kind))
    inner = clients(6)
    whole_CS, whole_C = voted(OPEN, inner)
    del inner.clients_by_number[1]  # type: ignore[attr-defined]
    rest_CS, rest_C = voted(OPEN, inner)
    assert any(np.allclose(found_CS, one, rtol=1e-4, atol=1e-4) for one in (whole_CS, rest_CS))
    assert any(np.allclose(found_C, one, rtol=1e-5, atol=1e-5) for one in (whole_C, rest_C))
    assert not np.allclose(whole_C, rest_C, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_below_the_threshold_a_vote_is_tried_again_and_in_the_end_given_up(kind: Kind) -> None:
    once = Faulty(inner=clients(6), kind=kind, bad=(0, 1, 2), times=3)
    assert np.allclose(voted(SECURE, once)[1], voted(OPEN, clients(6))[1], rtol=1e-5, atol=1e-5)
    revealed = {decode(c, RevealWanted).nonce for one, _, c in once.requests if one is Kind.REVEAL}
    assert len(revealed) == 2  # of the vote that was tried again nothing
    with pytest.raises(BoardError, match="too few clients judged the masks"):
        voted(SECURE, Faulty(inner=clients(6), kind=kind, bad=(0, 1, 2)))


def spoilt(content: bytes) -> bytes:
    """As if what the client found were anything at all, over as many samples as it has."""
    one = decode(content, Masked)
    anything_P = np.random.default_rng(0).integers(-(2**31), 2**31, one.masked_P.shape).astype(np.int32)
    anything_P[-1] = 0
    return encode(replace(one, masked_P=one.masked_P + anything_P))


def test_one_hostile_client_spoils_the_vote_of_its_group_alone() -> None:
    asked = replace(SECURE, groups=3, trim=0.2)
    honest_C = voted(asked, clients(9))[1]
    attacked_C = voted(asked, Faulty(inner=clients(9), fault=spoilt))[1]
    together_C = voted(SECURE, Faulty(inner=clients(9), fault=spoilt))[1]
    assert np.abs(attacked_C - honest_C).max() < 0.3 * honest_C.max()
    assert np.abs(together_C - honest_C).max() > honest_C.max()  # the test has power


def tried(asked: Settings, number: int) -> tuple[State, Recorded]:
    transport = Recorded(inner=holding([60] * number))
    selection = Selection(
        module=network(), input_shape=SHAPE, conversation=conversation(transport, asked), settings=asked
    )
    return selection.run(), transport


def test_a_trial_needs_twice_as_many_clients_of_each_mask_as_a_sum_does() -> None:
    asked = replace(SECURE, rounds=ROUNDS_FOR_TRIALS, per_round=18, candidates=6)
    state, transport = tried(asked, 18)
    assert state.rounds == len(state.records[:1]) == 1
    assert "trials voted for" in state.notes[0]
    masked = [decode(c, Masked).nonce for kind, _, c in transport.answers if kind is Kind.TRAIN]
    assert len(set(masked)) == len(state.records)
    assert len(masked) == 18
    state, _ = tried(replace(asked, per_round=10), 18)
    assert state.rounds == 0
    assert "voted for among 6" in state.notes[0]
