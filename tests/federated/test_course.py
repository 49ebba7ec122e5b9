"""Courses over clients in memory: what they learn, what they send, and that a break changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from federated_courses import LABELS, SETTINGS, Recorded, accuracy, all_kept, clients, course, network, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import BadInputError, BoardError, UsageError
from edgekit.federated.costs import ClientBudget
from edgekit.federated.layout import Layout
from edgekit.federated.messages import Networks, Statistics, Training, Update
from edgekit.federated.parts import Part, trained
from edgekit.federated.server_pruning import ServerPictures
from edgekit.federated.settings import Settings
from edgekit.federated.state import State
from edgekit.federated.transport import Kind
from edgekit.federated.wire import decode, is_a
from edgekit.pruning.batch_norm_selection import norms_of
from edgekit.pruning.masks import kept, kept_in_total, prunable


def run(given_settings: Settings = SETTINGS, **changed: object) -> tuple[State, torch.nn.Module]:
    one = course(given_settings, **changed)
    return one.run(clients()), one.module


def same(one: State, other: State) -> bool:
    return np.array_equal(one.vector_V, other.vector_V) and all(
        torch.equal(one.masks[name], other.masks[name]) for name in one.masks
    )


def test_clients_together_learn_what_each_alone_cannot() -> None:
    longer = replace(SETTINGS, rounds=12, epochs=2)
    state, module = run(longer)
    before = accuracy(network())
    assert kept(state.masks) == kept_in_total([mask.numel() for mask in state.masks.values()], 0.3)
    assert accuracy(module) > 0.85
    assert accuracy(module) > before - 0.05  # with 30 % of its weights


@given(
    st.sampled_from([0.08, 0.1, 0.37, 0.9, 1.0]), st.integers(0, 3), st.integers(1, 4), st.sampled_from([0.0, 0.3, 1.0])
)
@settings(max_examples=6, deadline=None)
def test_the_density_is_the_target_to_one_weight_in_every_round(
    density: float, seed: int, candidates: int, exchange: float
) -> None:
    asked = replace(SETTINGS, density=density, seed=seed, candidates=candidates, exchange=exchange, rounds=3)
    one, transport = course(asked), Recorded(inner=clients())
    one.run(transport)
    total = sum(weight.numel() for weight in prunable(one.module).values())
    layout = Layout.of(one.module)
    masks = [decode(content, Training).mask for kind, _, content in transport.requests if kind is Kind.TRAIN]
    assert len(masks) == 12
    for packed in masks:
        assert kept(layout.unpack(packed, 1)[0]) == kept_in_total([total], density)


def test_the_same_seed_gives_the_same_network_to_the_bit_and_another_one_another() -> None:
    (one, _), (other, _), (third, _) = run(), run(), run(replace(SETTINGS, seed=1))
    assert same(one, other)
    assert not same(one, third)


def test_the_order_in_which_clients_answer_does_not_matter() -> None:
    class Backwards(Recorded):
        def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
            answers = self.inner.exchange(kind, dict(reversed(requests.items())), timeout_s)
            return dict(reversed(answers.items()))

    assert same(run()[0], course().run(Backwards(inner=clients())))


@pytest.mark.parametrize("message", range(1, 12))
def test_a_server_killed_at_any_message_goes_on_as_if_nothing_had_happened(tmp_path: Path, message: int) -> None:
    class KilledError(Exception):
        pass

    class Until(Recorded):
        def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
            answers = super().exchange(kind, requests, timeout_s)
            if len(self.requests) >= 4 * message:
                raise KilledError
            return answers

    with suppress(KilledError):
        course(folder=tmp_path).run(Until(inner=clients()))
    state = course(folder=tmp_path).run(clients())
    assert same(state, run()[0])
    assert [one.number for one in state.records] == list(range(SETTINGS.rounds))


def test_a_finished_course_is_not_run_again(tmp_path: Path) -> None:
    first = course(folder=tmp_path).run(clients())
    transport = Recorded(inner=clients())
    assert same(course(folder=tmp_path).run(transport), first)
    assert transport.requests == []


def test_a_folder_of_another_course_is_refused_and_left_alone(tmp_path: Path) -> None:
    course(folder=tmp_path).run(clients())
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(UsageError, match="another course"):
        course(replace(SETTINGS, density=0.2), folder=tmp_path).run(clients())
    assert (tmp_path / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00" * 100])
def test_a_damaged_state_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "state.safetensors").write_bytes(damage)
    with pytest.raises(BadInputError, match="damaged"):
        course(folder=tmp_path).run(clients())


def test_bytes_are_counted_as_the_transport_carried_them() -> None:
    transport = Recorded(inner=clients())
    state = course().run(transport)
    carried = sum(len(content) for kind, _, content in transport.requests if kind is Kind.TRAIN)
    returned = sum(len(content) for kind, _, content in transport.answers if kind is Kind.TRAIN)
    assert sum(one.down_bytes for one in state.records) == carried
    assert sum(one.up_bytes for one in state.records) == returned
    assert transport.inner.down_bytes == sum(len(content) for _, _, content in transport.requests)
    assert transport.inner.up_bytes == sum(len(content) for _, _, content in transport.answers)


def test_nothing_off_the_mask_leaves_a_client_but_the_gradients_asked_for() -> None:
    """f: the released code sends dense weights back, for its mask acts in the forward pass alone."""
    one, transport = course(), Recorded(inner=clients())
    one.run(transport)
    layout = Layout.of(one.module)
    asked = {decode(c, Training).nonce: decode(c, Training) for k, _, c in transport.requests if k is Kind.TRAIN}
    for kind, _, content in transport.answers:
        if kind is not Kind.TRAIN:
            continue
        update = decode(content, Update)
        request = asked[update.nonce]
        number = kept(layout.unpack(request.mask, 1)[0])
        assert update.delta_V.shape == (number + layout.others + layout.moments,)
        assert update.value_A.shape == update.index_A.shape == (sum(request.counts.values()),)
        floats = 4 * (len(update.delta_V) + 2 * len(update.value_A))
        assert len(content) < floats + 1500  # names and facts


def test_a_few_bytes_a_weight_cross_the_wire() -> None:
    one, transport = course(replace(SETTINGS, density=0.1)), Recorded(inner=clients())
    one.run(transport)
    layout = Layout.of(one.module)
    kept_bytes = 4 * (round(0.1 * layout.weights) + layout.others + layout.moments)
    for kind, _, content in transport.requests:
        if kind is Kind.TRAIN:
            assert len(content) < kept_bytes + layout.weights / 8 + 1500


def test_statistics_of_all_normalisation_layers_are_exchanged() -> None:
    """a: the released code sends scale and shift in their place, and finds layers by the name "bn"."""
    transport = Recorded(inner=clients())
    one = course()
    one.run(transport)
    norms = norms_of(one.module)
    assert "downsample.1" in {name.replace("_", ".") for name in norms} or len(norms) == 2
    answers = [decode(c, Statistics) for kind, _, c in transport.answers if kind is Kind.STATISTICS]
    assert len(answers) == 4
    for answer in answers:
        assert answer.moments_CS.shape == (3, 2 * sum(int(norm.num_features) for norm in norms.values()))
    assert not np.array_equal(answers[0].moments_CS, answers[1].moments_CS)


def test_candidates_are_masks_of_the_same_weights() -> None:
    """b: the candidates of the released code are other random weights under one mask."""
    one, transport = course(), Recorded(inner=clients())
    layout, weights = Layout.of(one.module), {k: w.detach().clone() for k, w in prunable(one.module).items()}
    one.run(transport)
    request = next(decode(c, Networks) for kind, _, c in transport.requests if kind is Kind.STATISTICS)
    masks_C = layout.unpack(request.masks, len(request.vector_CV))
    assert len({tuple(int(mask.sum()) for mask in masks.values()) for masks in masks_C}) > 1
    for masks, vector_V in zip(masks_C, request.vector_CV, strict=True):
        held = torch.cat([weights[name].flatten()[masks[name].flatten()] for name, _ in layout.pruned])
        assert np.array_equal(vector_V[: len(held)], held.numpy())


def test_every_exchange_changes_as_many_weights_as_were_asked_for_and_only_in_one_unit() -> None:
    """c, d: the released code indexes the wrong weights, and lets what was just dropped grow again at once."""
    one, transport = course(replace(SETTINGS, rounds=6)), Recorded(inner=clients())
    state = one.run(transport)
    layout = Layout.of(one.module)
    requests = [decode(c, Training) for kind, number, c in transport.requests if kind is Kind.TRAIN and number == 0]
    masks = [layout.unpack(one.mask, 1)[0] for one in requests]
    assert any(one.counts for one in requests)
    for request, before, after in zip(requests, masks, masks[1:], strict=False):
        for name in before:
            grown = int((after[name] & ~before[name]).sum())
            dropped = int((before[name] & ~after[name]).sum())
            assert grown == dropped <= request.counts.get(name, 0)
    assert sum(one.exchanged for one in state.records) > 0


def test_gradients_are_taken_without_moving_the_statistics() -> None:
    """e: the released code takes them in training mode, after which it sends moved statistics."""
    asked = replace(SETTINGS, rounds=2, exchange=1.0)
    with_, without = Recorded(inner=clients()), Recorded(inner=clients())
    course(asked).run(with_)
    course(replace(asked, exchange=0.0)).run(without)
    first = [
        [
            decode(c, Update).delta_V
            for kind, _, c in one.answers
            if kind is Kind.TRAIN and decode(c, Update).number == 0
        ]
        for one in (with_, without)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*first, strict=True))


def test_a_client_that_cannot_afford_a_round_says_so_and_is_left_out() -> None:
    transport = clients(4)
    poor = transport.clients_by_number[2]
    poor.budget = ClientBudget(macs=10)
    state = course().run(transport)
    for one in state.records:
        assert one.clients == ("client 0", "client 1", "client 3")
        assert "MACs, 10 are allowed" in one.left_out["client 2"]


@pytest.mark.parametrize("limit", [ClientBudget(traffic_bytes=100), ClientBudget(ram_bytes=100)])
def test_where_nobody_can_afford_a_round_the_course_says_why(limit: ClientBudget) -> None:
    with pytest.raises(BoardError, match="100 are allowed"):
        course().run(clients(budget=limit))


def test_little_memory_trains_shifts_and_the_last_blocks_alone() -> None:
    one = course(replace(SETTINGS, rounds=1, exchange=0.0))
    needs = max(record.peak_bytes for record in copy.copy(one).run(clients()).records)
    module, layout = network(), Layout.of(network())
    transport = Recorded(inner=clients(budget=ClientBudget(ram_bytes=needs - 1)))
    before = layout.vector(module, dict(one.run(transport).masks))
    (update, *_) = [decode(c, Update) for kind, _, c in transport.answers if kind is Kind.TRAIN]
    assert update.part == Part.LIGHT
    assert update.peak_bytes < needs
    chosen = trained(module, Part.LIGHT)
    assert "head.weight" in chosen
    assert "stem.weight" not in chosen
    request = next(decode(c, Training) for kind, _, c in transport.requests if kind is Kind.TRAIN)
    masks = layout.unpack(request.mask, 1)[0]
    first = int(masks[layout.pruned[0][0]].sum())
    assert layout.pruned[0][0] == "stem.weight"
    assert not update.delta_V[:first].any()
    assert not update.delta_V[layout.statistics(kept(masks))].any()
    assert update.delta_V.any()
    assert before.shape == update.delta_V.shape


def test_one_client_alone_is_plain_training() -> None:
    state = course(replace(SETTINGS, per_round=1)).run(clients(1))
    assert all(one.clients == ("client 0",) for one in state.records)


def test_without_clients_the_course_says_so() -> None:
    with pytest.raises(BoardError, match="no client can be reached"):
        course().run(clients(0))


def test_the_offer_is_made_once_to_each_client() -> None:
    transport = Recorded(inner=clients())
    course().run(transport)
    offers = [number for kind, number, _ in transport.requests if kind is Kind.OFFER]
    assert sorted(offers) == [0, 1, 2, 3]
    assert all(is_a(content, Update) for kind, _, content in transport.answers if kind is Kind.TRAIN)


def test_a_course_is_known_by_its_settings_network_and_labels() -> None:
    assert course().identity() == course().identity()
    others = (course(labels=LABELS[:-1]), course(replace(SETTINGS, seed=1)), course(masks=all_kept(network())))
    assert course().identity() not in {one.identity() for one in others}


def test_few_multiplications_train_the_kept_weights_alone_to_the_same_end() -> None:
    one = replace(SETTINGS, rounds=1, exchange=0.0)
    dense = course(one).run(clients())
    limit = ClientBudget(macs=max(record.macs for record in dense.records) // 4 - 1)
    sparse = course(one).run(clients(budget=limit))
    assert sparse.records[0].clients == dense.records[0].clients
    assert sparse.records[0].macs < 0.4 * dense.records[0].macs  # at a density of 0.3
    assert np.allclose(sparse.vector_V, dense.vector_V, atol=1e-4)
    assert not np.array_equal(sparse.vector_V, dense.vector_V)  # sums in another order: it did go another way


def test_what_a_round_costs_stands_beside_what_dense_averaging_does() -> None:
    one = replace(SETTINGS, rounds=1)
    (record,) = course(one).run(clients()).records
    (dense,) = course(replace(one, density=1.0)).run(clients()).records
    assert record.macs == record.dense_macs == dense.macs  # dense kernels multiply zeros too
    assert record.kept_macs is not None
    assert 0 < record.kept_macs < record.dense_macs
    assert record.dense_peak_bytes == dense.peak_bytes


def test_the_server_prunes_a_candidate_on_its_own_pictures_which_has_to_be_voted_for() -> None:
    longer, some = replace(SETTINGS, density=0.05, rounds=20), samples(0, 200)
    noise = torch.rand(some.x_N.shape, generator=torch.Generator().manual_seed(0))
    state, module = run(longer, pictures=ServerPictures(x_NCHW=some.x_N, y_N=some.y_N))
    assert state.notes[0] == "The mask is pruned gradually by the server, voted for among 3."
    assert kept(state.masks) == kept_in_total([mask.numel() for mask in state.masks.values()], 0.05)
    of_noise, of_masks = run(longer, pictures=ServerPictures(x_NCHW=noise, y_N=some.y_N)), run(longer)
    assert "by the server" not in of_noise[0].notes[0] + of_masks[0].notes[0]
    assert accuracy(module) > accuracy(of_masks[1])


def test_other_pictures_of_the_server_make_another_course() -> None:
    some = samples(0, 20)
    asked = [None, ServerPictures(x_NCHW=some.x_N), ServerPictures(x_NCHW=some.x_N, y_N=some.y_N)]
    assert len({course(pictures=pictures).identity() for pictures in asked}) == 3
