"""One round of training: a cohort learns from the same network, and what it learnt is averaged, against errors and malice."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import fx

from edgekit.core.errors import BoardError
from edgekit.federated.averaging import Changes, averaged, merged, merged_at_positions
from edgekit.federated.conversation import Conversation
from edgekit.federated.costs import cost_of, samples_seen
from edgekit.federated.messages import Training, Update
from edgekit.federated.parts import Part
from edgekit.federated.releases import Known, Summand, positions_of, units_of
from edgekit.federated.settings import Settings
from edgekit.federated.state import RoundRecord
from edgekit.federated.transport import Kind
from edgekit.federated.wire import encode
from edgekit.pruning.aggregation import against_most
from edgekit.pruning.masked_training import rise_and_fall
from edgekit.pruning.masks import Masks, hash_of, kept
from edgekit.pruning.progressive import Sparse

ATTEMPTS = 5
"""At a round that too few clients answer, each with another cohort."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """What is asked for in a round; `counts` are the gradients of pruned weights, by layer. `share` (i, n): of the clients drawn
    every n-th from the i-th on alone."""

    number: int
    stage: str
    masks: Masks
    vector_V: NDArray[np.float32]
    counts: Mapping[str, int]
    share: tuple[int, int] = (0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Learnt:
    """The vector asked with and the next, laid out by the same masks, and gradients of pruned weights by layer; in a round that
    is not private, the answers that they were made of."""

    asked_V: NDArray[np.float32]
    vector_V: NDArray[np.float32]
    grown: Mapping[str, Sparse]
    learning_rate: float
    updates: tuple[Update, ...]
    record: RoundRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gathered:
    """What the server knows after the answers, of these clients together."""

    clients: tuple[int, ...]
    changes: Changes
    grown: Mapping[str, Sparse]
    loss: float | None
    macs: int | None = None
    peak_bytes: int | None = None
    updates: tuple[Update, ...] = field(default=())


def train(module: fx.GraphModule, conversation: Conversation, settings: Settings, asked: Round) -> Learnt:
    """Raises BoardError where too few clients answer, however often it is tried."""
    began = time.monotonic()
    share = (asked.number + 0.5) / settings.rounds
    for attempt in range(ATTEMPTS):
        conversation.begin_round()
        first, step = asked.share
        cohort = conversation.cohort(asked.stage, asked.number, attempt)[first::step]
        training = Training(
            course=conversation.offer.course,
            number=asked.number,
            nonce=secrets.token_hex(8),
            mask=conversation.layout.pack([asked.masks]),
            vector_V=asked.vector_V,
            learning_rate=settings.learning_rate * rise_and_fall(share, share),
            epochs=settings.epochs,
            batch=settings.batch,
            seed=settings.seed,
            counts=asked.counts,
            clip=settings.clip,
            noise_multiplier=settings.noise_multiplier,
            senders=np.empty(0, np.int32),
        )
        gather = _privately if settings.private else _openly
        found = gather(conversation, settings, asked, training, cohort)
        if found:
            break
    else:
        raise BoardError(
            f"round {asked.number}: too few clients answered, {ATTEMPTS} times: {conversation.left_out()}",
            hint="fix the cause, then give the same command again: it goes on from the last complete round",
        )
    seen = [samples_seen(one.samples, epochs=settings.epochs, batch=settings.batch) for one in found.updates]
    dense = cost_of(
        module, asked.masks, conversation.input_shape, batch=settings.batch, samples=sum(seen), part=Part.ALL
    )
    record = RoundRecord(
        number=asked.number,
        stage=asked.stage,
        seconds=time.monotonic() - began,
        clients=tuple(conversation.known[number].name for number in found.clients),
        left_out=conversation.left_out(),
        loss=found.loss,
        accuracy=None,
        down_bytes=conversation.down_bytes,
        up_bytes=conversation.up_bytes,
        macs=found.macs,
        kept_macs=dense.kept_macs if seen else None,
        dense_macs=dense.macs if seen else None,
        peak_bytes=found.peak_bytes,
        dense_peak_bytes=dense.peak_bytes,
        exchanged=0,
        densities={name: float(mask.float().mean()) for name, mask in asked.masks.items()},
    )
    return Learnt(
        asked_V=asked.vector_V,
        vector_V=averaged(module, conversation.layout, settings, asked.masks, asked.vector_V, found.changes),
        grown=found.grown,
        learning_rate=training.learning_rate,
        updates=found.updates,
        record=record,
    )


def _openly(
    conversation: Conversation, settings: Settings, asked: Round, training: Training, cohort: Sequence[int]
) -> _Gathered | None:
    """None where too few answer."""
    free = {name: ~asked.masks[name].flatten().numpy() for name in asked.counts}
    answers = conversation.ask(Kind.TRAIN, cohort, encode(training))
    found = conversation.reader.updates(answers, training, hash_of(asked.masks), free)
    if not conversation.enough(len(found), cohort):
        return None
    if settings.trim:
        parameters = conversation.layout.parameters(kept(asked.masks))
        deltas_KP = np.stack([one.delta_V[parameters] for one in found.values()])
        against = against_most(deltas_KP, int(settings.trim * len(found)))
        for number in [one for one, is_against in zip(found, against, strict=True) if is_against]:
            del found[number]
            conversation.reader.left_out[number] = "the update points against that of most"
    updates, samples = tuple(found.values()), [one.samples for one in found.values()]
    return _Gathered(
        clients=tuple(found),
        changes=Changes(
            delta_KV=np.stack([one.delta_V for one in updates]),
            samples_K=samples,
            parts_K=[one.part for one in updates],
        ),
        grown=merged(updates, asked.counts, settings) if asked.counts else {},
        loss=float(np.average([one.loss for one in updates], weights=samples)),
        macs=sum(one.macs for one in updates),
        peak_bytes=max(one.peak_bytes for one in updates),
        updates=updates,
    )


def _privately(
    conversation: Conversation, settings: Settings, asked: Round, training: Training, cohort: Sequence[int]
) -> _Gathered | None:
    """None where too few answer, and then no sum is known."""
    positions = positions_of(training, asked.masks)
    size = len(training.vector_V) + sum(map(len, positions.values()))
    conversation.release(cohort, 2 if positions else 1)
    if settings.secure:
        from edgekit.federated.secure_training import SecureRound

        known = SecureRound(
            conversation=conversation,
            settings=settings,
            kind=Kind.TRAIN,
            request=training,
            number=asked.number,
            mask_sha256=hash_of(asked.masks),
            sum_of=partial(Summand.of, training, size),
            numbers=tuple(cohort),
        ).means()
    else:
        answers = conversation.ask(Kind.TRAIN, cohort, encode(training))
        known = [
            Known(clients=(number,), vector_P=one.vector_P, samples=1, loss=None, part=Part(one.part))
            for number, one in conversation.reader.releases(answers, training, hash_of(asked.masks), size).items()
        ]
        if not conversation.enough(len(known), cohort):
            return None
    if not known:
        return None
    unit_V = units_of(training.vector_V, conversation.layout.statistics(kept(asked.masks)))
    clients = {number for one in known for number in one.clients}
    losses = [(one.loss, one.samples) for one in known if one.loss is not None]
    return _Gathered(
        clients=tuple(number for number in cohort if number in clients),
        changes=Changes(
            delta_KV=np.stack([one.vector_P[: len(unit_V)] * unit_V for one in known]),
            samples_K=[one.samples for one in known],
            parts_K=[one.part for one in known],
        ),
        grown=merged_at_positions(known, positions, settings),
        loss=float(np.average([loss for loss, _ in losses], weights=[samples for _, samples in losses]))
        if losses
        else None,
    )
