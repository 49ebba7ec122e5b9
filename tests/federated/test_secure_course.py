"""Courses whose sums are secure, whose updates are noised, or both: what the server gets to know, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from federated_courses import LABELS, SETTINGS, SHAPE, Recorded, accuracy, all_kept, clients, course, network, samples
from federated_courses import studied as studied_network
from scipy.stats import chisquare

from edgekit.core.errors import BadInputError, BoardError, UsageError
from edgekit.core.records import read_json
from edgekit.federated.conversation import Conversation
from edgekit.federated.course_folder import spent, write_course
from edgekit.federated.fixed_point import Ring
from edgekit.federated.layout import Layout
from edgekit.federated.messages import Masked, Networks, Offer, Release, RevealWanted, SharesWanted, Training, Update
from edgekit.federated.privacy import Privacy, epsilon
from edgekit.federated.releases import POOL, positions_of
from edgekit.federated.secure_client import SecureSum
from edgekit.federated.secure_messages import Cohort
from edgekit.federated.server_pruning import ServerPictures
from edgekit.federated.serving import read_config
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import simulated
from edgekit.federated.simulator import Simulator
from edgekit.federated.start import Start
from edgekit.federated.state import State
from edgekit.federated.training import Learnt, Round, train
from edgekit.federated.transport import Kind, Transport
from edgekit.federated.wire import decode, encode, is_a
from edgekit.pruning.masks import kept, kept_in_total
from edgekit.tasks.vocabulary import Label, Vocabulary

OPEN = replace(SETTINGS, candidates=1, rounds=3, clip=1e3, trim=0.0, norm_limit=1e9, per_round=5)
SECURE = replace(OPEN, secure=True, groups=1, clip=50.0)
NOISED = replace(OPEN, clip=0.5, noise_multiplier=0.5, trim=0.2)
EACH_WAY = {"secure": SECURE, "noised": NOISED, "both": replace(SECURE, clip=0.5, noise_multiplier=0.5)}
STEPS = (Kind.KEYS, Kind.SHARES, Kind.TRAIN, Kind.REVEAL)


@dataclass(kw_only=True)
class Faulty(Recorded):
    """Clients `bad` send what `fault` makes of their answers to `kind`, so many times; None loses it."""

    bad: tuple[int, ...] = (1,)
    kind: Kind = Kind.TRAIN
    fault: Callable[[bytes], bytes | None] = field(default=lambda _content: None)
    times: int = 10**6

    def changed(self, kind: Kind, number: int, content: bytes) -> bytes | None:
        if number not in self.bad or kind is not self.kind or not self.times:
            return content
        self.times -= 1
        return self.fault(content)


def unequal(number: int = 5) -> Simulator:
    """The client of a larger number has more samples."""
    shared = studied_network()
    return Simulator(
        clients_by_number={
            index: simulated(f"client {index}", shared, samples(600 + 60 * index, 640 + 63 * index))
            for index in range(number)
        }
    )


def one_round(settings: Settings, transport: Transport, counts: Mapping[str, int] | None = None) -> Learnt:
    module, layout = network(), Layout.of(network())
    offer = Offer(course="c", network=b"", labels=LABELS, preprocessing="")
    conversation = Conversation(transport=transport, offer=offer, layout=layout, settings=settings, input_shape=SHAPE)
    masks = all_kept(module)
    for name in counts or {}:
        masks[name] = torch.rand(masks[name].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    asked = Round(number=0, stage="round", masks=masks, vector_V=layout.vector(module, masks), counts=counts or {})
    return train(module, conversation, settings, asked)


def same(one: State, other: State) -> bool:
    return np.array_equal(one.vector_V, other.vector_V) and all(
        torch.equal(one.masks[name], other.masks[name]) for name in one.masks
    )


def answers(transport: Recorded, kind: Kind) -> dict[int, bytes]:
    return {number: content for one, number, content in transport.answers if one is kind}


@pytest.mark.parametrize("groups", [1, 2])
def test_the_secure_mean_is_the_weighted_mean_of_the_clients(groups: int) -> None:
    transport, settings = Recorded(inner=unequal(6)), replace(SECURE, per_round=6, groups=groups, clip=50.0)
    opened = one_round(replace(OPEN, per_round=6), unequal(6))
    secured = one_round(settings, transport)
    moved = np.abs(opened.vector_V - opened.asked_V).max()
    assert np.abs(secured.vector_V - opened.vector_V).max() < 1e-4 * moved
    assert secured.record.loss == pytest.approx(opened.record.loss, abs=1e-4)
    assert secured.record.clients == opened.record.clients


def test_the_server_does_not_see_what_one_client_learnt() -> None:
    opened, secured = Recorded(inner=clients(4)), Recorded(inner=clients(4))
    one_round(replace(OPEN, per_round=4), opened)
    one_round(replace(SECURE, per_round=4), secured)
    for number, content in answers(opened, Kind.TRAIN).items():
        truth_V = decode(content, Update).delta_V
        seen_P = decode(answers(secured, Kind.TRAIN)[number], Masked).masked_P
        assert chisquare(np.bincount(seen_P.view(np.uint8), minlength=256)).pvalue > 1e-6
        assert abs(np.corrcoef(truth_V, seen_P[: len(truth_V)])[0, 1]) < 5 / np.sqrt(len(truth_V))


@pytest.mark.parametrize("way", EACH_WAY)
def test_nothing_else_leaves_a_client_that_tells_of_its_samples(way: str) -> None:
    """Two clients with other numbers of other samples send as many bytes, and nothing of statistics, samples or losses but what
    is masked."""
    transport = Recorded(inner=unequal())
    state = course(EACH_WAY[way]).run(transport)
    summed = {Kind.STATISTICS, *STEPS} if way == "secure" else set(STEPS)
    assert {kind for kind, _, _ in transport.answers} <= {Kind.OFFER, *summed}
    for kind in (Kind.OFFER, *summed):
        lengths: dict[int, set[int]] = {}
        for one, number, content in transport.answers:
            if one is kind:
                lengths.setdefault(number, set()).add(len(content))
        assert len({frozenset(one) for one in lengths.values()}) <= 1
    trained = [content for kind, _, content in transport.answers if kind in (Kind.TRAIN, Kind.STATISTICS)]
    assert all(is_a(content, Masked if EACH_WAY[way].secure else Release) for content in trained)
    assert all((one.loss is None) == (way != "secure") and one.macs is None for one in state.records)
    assert "without a vote" in state.notes[0]
    assert len(state.notes) == 2 + (way == "both")


@pytest.mark.parametrize("way", EACH_WAY)
def test_gradients_come_from_positions_that_all_clients_share(way: str) -> None:
    counts = {"block.weight": 20}
    transport = Recorded(inner=clients(5))
    learnt = one_round(EACH_WAY[way], transport, counts)
    training = decode(next(c for kind, _, c in transport.requests if kind is Kind.TRAIN), Training)
    masks = Layout.of(network()).unpack(training.mask, 1)[0]
    (index_A,) = positions_of(training, masks).values()
    assert len(index_A) == POOL * 20
    assert np.array_equal(learnt.grown["block.weight"].index_A.numpy(), index_A)
    assert learnt.grown["block.weight"].value_A.any()
    if way == "secure":
        pruned = int((~masks["block.weight"]).sum())
        opened = one_round(OPEN, clients(5), {"block.weight": pruned}).grown["block.weight"]
        truth = torch.zeros(masks["block.weight"].numel()).index_add_(0, opened.index_A, opened.value_A)
        assert torch.allclose(learnt.grown["block.weight"].value_A, truth[index_A], atol=1e-4)


@pytest.mark.parametrize("way", EACH_WAY)
def test_weights_are_exchanged_and_the_density_holds(way: str) -> None:
    state = course(replace(EACH_WAY[way], rounds=4)).run(clients(5))
    assert sum(one.exchanged for one in state.records) > 0
    assert kept(state.masks) == kept_in_total([mask.numel() for mask in state.masks.values()], 0.3)


def test_a_secure_course_learns() -> None:
    asked = replace(SECURE, clip=20.0, groups=3, per_round=10, rounds=6, trim=0.2)
    one = course(asked, pictures=ServerPictures(x_NCHW=samples(0, 100).x_N))
    one.run(clients(10))
    assert accuracy(one.module) > 0.8


@pytest.mark.parametrize("kind", STEPS)
def test_a_client_may_be_lost_at_any_step(kind: Kind) -> None:
    """Its part is in the sum where it had come already, and else nothing of it."""
    learnt = one_round(replace(SECURE, clip=50.0), Faulty(inner=unequal(), kind=kind))
    transport = unequal()
    if kind is not Kind.REVEAL:
        del transport.clients_by_number[1]  # type: ignore[attr-defined]
    expected = one_round(OPEN, transport)
    assert learnt.record.clients == expected.record.clients
    assert set(learnt.record.left_out) == ({"client 1"} if kind is not Kind.REVEAL else set())
    moved = np.abs(expected.vector_V - expected.asked_V).max()
    assert np.abs(learnt.vector_V - expected.vector_V).max() < 1e-3 * moved


@pytest.mark.parametrize("kind", STEPS)
def test_below_the_threshold_a_round_is_tried_again_and_in_the_end_given_up(kind: Kind) -> None:
    inner = clients(5)
    once = Faulty(inner=inner, kind=kind, bad=(0, 1, 2), times=3)
    learnt = one_round(SECURE, once)
    assert len(learnt.record.clients) == 5
    nonces = {decode(c, Training).nonce for one, _, c in once.requests if one is Kind.TRAIN}
    assert len(nonces) == (1 if kind in (Kind.KEYS, Kind.SHARES) else 2)
    with pytest.raises(BoardError, match="too few clients answered"):
        one_round(SECURE, Faulty(inner=inner, kind=kind, bad=(0, 1, 2)))


def test_of_a_round_that_is_tried_again_no_sum_is_revealed() -> None:
    """Else two sums with and without a client, at the same network, would tell its part."""
    asked, inner = replace(SECURE, per_round=9, groups=3), Recorded(inner=clients(9))
    one_round(asked, inner)
    wanted = decode(next(c for kind, _, c in inner.requests if kind is Kind.SHARES), SharesWanted)
    whole = Cohort.from_bytes(wanted.cohort).clients
    others = tuple(number for number in range(9) if number not in whole)
    transport = Faulty(inner=clients(9), bad=others, times=6)
    learnt = one_round(asked, transport)
    assert len(learnt.record.clients) == 9
    attempts = {decode(c, Training).nonce for kind, _, c in transport.requests if kind is Kind.TRAIN}
    revealed = {decode(c, RevealWanted).nonce for kind, _, c in transport.requests if kind is Kind.REVEAL}
    assert len(attempts) == 2
    assert len(revealed) == 1


def test_what_is_not_in_order_is_left_out_with_its_reason() -> None:
    faults = {
        Kind.KEYS: "cannot be read",
        Kind.SHARES: "cannot be read",
        Kind.TRAIN: "cannot be read",
    }
    for kind, reason in faults.items():
        learnt = one_round(SECURE, Faulty(inner=clients(5), kind=kind, fault=lambda content: content[:-1]))
        assert reason in learnt.record.left_out["client 1"]
        assert len(learnt.record.clients) == 4


def test_copied_keys_leave_the_copy_out_alone() -> None:
    seen: list[bytes] = []

    @dataclass(kw_only=True)
    class Copying(Recorded):
        def changed(self, kind: Kind, number: int, content: bytes) -> bytes:
            if kind is Kind.KEYS:
                seen.append(content)
                return seen[0] if number == 3 else content
            return content

    learnt = one_round(SECURE, Copying(inner=clients(5)))
    assert set(learnt.record.left_out) == {"client 3"}


def spoilt(content: bytes) -> bytes:
    """As if the client's own vector were anything at all, of as many samples as it has."""
    one = decode(content, Masked)
    anything_P = np.random.default_rng(0).integers(-(2**31), 2**31, one.masked_P.shape).astype(np.int32)
    anything_P[-1] = 0
    return encode(replace(one, masked_P=one.masked_P + anything_P))


def test_a_sum_over_more_samples_than_clients_can_have_is_left_out() -> None:
    def claiming(content: bytes) -> bytes:
        one = decode(content, Masked)
        masked_P = one.masked_P.copy()
        masked_P[-1] += 4000
        return encode(replace(one, masked_P=masked_P))

    learnt = one_round(replace(SECURE, per_round=9, groups=3), Faulty(inner=clients(9), fault=claiming))
    assert len(learnt.record.clients) == 6
    assert "samples of 3 clients" in learnt.record.left_out["client 1"]


def test_one_hostile_client_spoils_its_group_alone() -> None:
    asked = replace(SECURE, per_round=9, groups=3, trim=0.2, norm_limit=2.0, clip=20.0)
    honest = one_round(asked, clients(9))
    attacked = one_round(asked, Faulty(inner=clients(9), fault=spoilt))
    moved = np.linalg.norm(honest.vector_V - honest.asked_V)
    assert np.linalg.norm(attacked.vector_V - honest.vector_V) < moved
    with pytest.raises(BoardError, match="too few clients answered"):  # the test has power
        one_round(replace(asked, groups=1), Faulty(inner=clients(9), fault=spoilt))


class TurnedSum(SecureSum):
    """A client that sends its change turned round and five times as long; what honest clients are cut to does not bind it."""

    def masked(self, request: Training | Networks, mask_sha256: str, vector_P: Ring) -> Masked:
        assert isinstance(request, Training)
        turned_P, size = vector_P.astype(np.int32), len(request.vector_V)
        turned_P[:size] *= -5
        return SecureSum.masked(self, request, mask_sha256, turned_P.astype(np.uint32))


def test_a_group_whose_sum_points_against_that_of_most_is_left_out() -> None:
    @dataclass(kw_only=True)
    class Turned(Recorded):
        def changed(self, kind: Kind, number: int, content: bytes) -> bytes:
            client = self.inner.clients_by_number[number]
            if kind is Kind.KEYS and number == 1 and client.secure_sum:
                client.secure_sum = TurnedSum(wanted=client.secure_sum.wanted, secrets=client.secure_sum.secrets)
            return content

    asked = replace(SECURE, per_round=9, groups=3, trim=0.4)
    learnt = one_round(asked, Turned(inner=clients(9)))
    assert "points against that of most" in learnt.record.left_out["client 1"]
    assert len(learnt.record.left_out) == 3
    honest, alone = one_round(asked, clients(9)), one_round(replace(asked, trim=0.0), Turned(inner=clients(9)))
    moved = np.linalg.norm(honest.vector_V - honest.asked_V)
    assert np.linalg.norm(learnt.vector_V - honest.vector_V) < 0.7 * moved
    assert np.linalg.norm(alone.vector_V - honest.vector_V) > moved  # the test has power


@pytest.mark.parametrize("groups", [1, 3])
def test_a_group_whose_mean_is_longer_than_the_clip_is_left_out(groups: int) -> None:
    """Also where there is no other to compare it with: then the round is tried again, with others."""
    asked = replace(SECURE, per_round=9, groups=groups, clip=2.0)
    transport = Faulty(inner=clients(9), fault=spoilt, times=1)
    learnt = one_round(asked, transport)
    if groups == 3:
        assert "longer than any of its clients may send" in learnt.record.left_out["client 1"]
    assert len(learnt.record.clients) == (9 if groups == 1 else 6)
    assert (
        len({decode(c, Training).nonce for kind, _, c in transport.requests if kind is Kind.TRAIN}) == 2 - groups // 3
    )
    layout, number = Layout.of(network()), kept(all_kept(network()))
    moved = (learnt.vector_V - learnt.asked_V)[layout.parameters(number)]
    assert np.linalg.norm(moved.astype(np.float64)) < 2.0


def test_a_hostile_client_in_every_round_costs_little_accuracy() -> None:
    asked = replace(SECURE, per_round=9, groups=3, trim=0.2, norm_limit=2.0, clip=20.0, rounds=6)
    pictures = ServerPictures(x_NCHW=samples(0, 100).x_N)
    honest, attacked = course(asked, pictures=pictures), course(asked, pictures=pictures)
    honest.run(clients(9))
    attacked.run(Faulty(inner=clients(9), fault=spoilt))
    assert accuracy(attacked.module) > accuracy(honest.module) - 0.1


def test_a_client_that_reveals_wrong_shares_loses_its_group_alone() -> None:
    asked = replace(SECURE, per_round=9, groups=3)
    learnt = one_round(
        asked, Faulty(inner=clients(9), kind=Kind.SHARES, fault=lambda content: content[:-40] + bytes(40))
    )
    assert len(learnt.record.clients) == 6
    assert "client 1" in learnt.record.left_out


@pytest.mark.parametrize("way", ["noised", "both"])
def test_noise_has_an_epsilon_that_is_reported(way: str, tmp_path: Path) -> None:
    asked = replace(EACH_WAY[way], per_round=3, rounds=4)
    one = course(asked)
    state = one.run(clients(6))
    adjusted = sum(one.exchanged > 0 for one in state.records)
    most = max(state.releases.values())
    assert sum(state.releases.values()) == 3 * (4 + adjusted)
    assert spent(asked, state) == epsilon(Privacy(clip=0.5, noise_multiplier=0.5), most)
    begin = Start(
        module=one.module,
        input_shape=SHAPE,
        labels=LABELS,
        indices=tuple(range(len(LABELS))),
        vocabulary=Vocabulary(tuple(Label(name=name, index=index) for index, name in enumerate(LABELS))),
        origin="digits",
        x_NCHW=samples(0, 4).x_N,
    )
    result = write_course(tmp_path, begin, asked, state)
    assert result.epsilon == spent(asked, state)
    assert read_json(tmp_path / "report.json", schema_version=1)["epsilon"] == result.epsilon
    assert f"epsilon {result.epsilon:.3g} at delta 1e-05" in (tmp_path / "card.md").read_text()


@pytest.mark.parametrize("way", ["noised", "both"])
def test_the_noise_is_as_large_as_was_said(way: str) -> None:
    """The clients' true changes are within a clip so small that all the server sees is noise."""
    asked = replace(EACH_WAY[way], clip=1e-3, noise_multiplier=1000.0, trim=0.0)
    learnt = one_round(asked, clients(5))
    seen = learnt.vector_V - learnt.asked_V
    parameters = Layout.of(network()).parameters(kept(all_kept(network())))
    # Of both ways the mean of five: each with all of the noise, or, of a threshold of 3, each with a third of its variance.
    expected = np.sqrt(5) / 5 if way == "noised" else np.sqrt(5 / 3) / 5
    assert float(seen[parameters].std()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("way", EACH_WAY)
@pytest.mark.parametrize("message", [7, 16, 23])
def test_a_server_killed_at_any_message_goes_on_to_the_same_network(tmp_path: Path, way: str, message: int) -> None:
    class KilledError(Exception):
        pass

    class Until(Recorded):
        def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
            answers = super().exchange(kind, requests, timeout_s)
            if len(self.requests) >= message:
                raise KilledError
            return answers

    asked = EACH_WAY[way]
    whole = course(asked).run(clients(5))
    with suppress(KilledError):
        course(asked, folder=tmp_path).run(Until(inner=clients(5)))
    state = course(asked, folder=tmp_path).run(clients(5))
    assert same(state, whole)
    assert [one.number for one in state.records] == [0, 1, 2]
    # What had been sent before the break was sent, and counts.
    assert all(state.releases[name] >= number for name, number in whole.releases.items())
    assert (
        State.read(tmp_path / "state.safetensors", course(asked).identity(), Layout.of(network())).releases
        == state.releases
    )  # type: ignore[union-attr]


def test_bytes_are_those_that_were_carried() -> None:
    transport = Recorded(inner=clients(5))
    state = course(EACH_WAY["both"]).run(transport)  # without a vote, whose messages are of no round
    for side, carried in (("down_bytes", transport.requests), ("up_bytes", transport.answers)):
        told = sum(getattr(one, side) for one in state.records)
        assert told == sum(len(content) for _, _, content in carried)


def test_a_client_answers_each_step_once_and_forgets() -> None:
    inner = clients(4)
    transport = Recorded(inner=inner)
    one_round(replace(SECURE, per_round=4), transport)
    requests = {kind: content for kind, number, content in transport.requests if number == 1}
    client = inner.clients_by_number[1]
    assert client.secure_sum is None
    for kind in (Kind.SHARES, Kind.TRAIN, Kind.REVEAL):
        with pytest.raises(BadInputError, match="secure sum"):
            client.answer(kind, requests[kind])


def test_a_client_sends_its_masked_vector_once_and_to_its_own_cohort_alone() -> None:
    inner = clients(4)

    @dataclass(kw_only=True)
    class Twice(Recorded):
        refused: int = 0

        def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
            answers = super().exchange(kind, requests, timeout_s)
            if kind in (Kind.SHARES, Kind.TRAIN):
                self.refused += len(requests) - len(self.inner.exchange(kind, requests, timeout_s))
            return answers

    transport = Twice(inner=inner)
    learnt = one_round(replace(SECURE, per_round=4), transport)
    assert transport.refused == 8
    assert len(learnt.record.clients) == 4
    wanted = decode(next(c for kind, _, c in transport.requests if kind is Kind.SHARES), SharesWanted)
    assert Cohort.from_bytes(wanted.cohort).minimum == 3
    asked = decode(next(c for kind, _, c in transport.requests if kind is Kind.REVEAL), RevealWanted)
    assert sorted(asked.survivors.tolist()) == [0, 1, 2, 3]


def test_gradients_of_linear_layers_never_leave_a_client() -> None:
    transport = Recorded(inner=clients(4))
    course(replace(SETTINGS, rounds=12)).run(transport)
    asked = {name for kind, _, c in transport.requests if kind is Kind.TRAIN for name in decode(c, Training).counts}
    assert asked == {"stem.weight", "block.weight", "downsample.0.weight"}


def test_clipping_alone_bounds_an_update() -> None:
    transport = Recorded(inner=clients(4))
    course(replace(SETTINGS, clip=0.01, candidates=1)).run(transport)
    for content in answers(transport, Kind.TRAIN).values():
        one = decode(content, Update)
        assert np.linalg.norm(one.delta_V[:-32].astype(np.float64)) <= 0.01 / np.sqrt(2)
        assert np.linalg.norm(one.value_A.astype(np.float64)) <= 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        {"secure": True},
        {"noise_multiplier": 1.0},
        {"secure": True, "clip": 1.0, "minimum": 2},
        {"secure": True, "clip": 1.0, "per_round": 2},
        {"groups": 0},
        {"delta": 1.0},
    ],
)
def test_settings_that_protect_nobody_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(SETTINGS, **wrong)  # type: ignore[arg-type]


def test_a_served_course_is_asked_for_privacy_in_its_file(tmp_path: Path) -> None:
    head = 'keys = "k"\noutput = "o"\ntask = "all"\n[course]\n'
    (tmp_path / "fed.toml").write_text(head + "secure = true\nminimum = 4\nclip = 1\nnoise_multiplier = 0.5\n")
    asked = read_config(tmp_path / "fed.toml").course
    assert (asked.secure, asked.minimum, asked.clip, asked.noise_multiplier) == (True, 4, 1, 0.5)
    for wrong in ("secure = 1\n", 'secure = "yes"\n', "rounds = true\n"):
        (tmp_path / "fed.toml").write_text(head + wrong)
        with pytest.raises(UsageError, match="is "):
            read_config(tmp_path / "fed.toml")
