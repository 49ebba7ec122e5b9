"""One round of training: a cohort learns from the same network, and what it learnt is averaged, against errors and malice."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import fx

from edgekit.core.errors import BoardError
from edgekit.federated.conversation import Conversation
from edgekit.federated.layout import Layout, central_moments, second_moments
from edgekit.federated.messages import Training, Update
from edgekit.federated.parts import Part, covered
from edgekit.federated.settings import Settings
from edgekit.federated.state import RoundRecord
from edgekit.federated.transport import Kind
from edgekit.federated.wire import encode
from edgekit.pruning.aggregation import bounded, trimmed_mean, weights_of
from edgekit.pruning.masked_training import rise_and_fall
from edgekit.pruning.masks import Masks, hash_of, kept

ATTEMPTS = 5
"""At a round that too few clients answer, each with another cohort."""
QUORUM = 0.5
"""Share of the cohort, declining clients aside, without whose answers a round does not count."""


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
    """The vector asked with and the next, laid out by the same masks, and the answers that it was made of."""

    asked_V: NDArray[np.float32]
    vector_V: NDArray[np.float32]
    learning_rate: float
    updates: tuple[Update, ...]
    record: RoundRecord


def train(module: fx.GraphModule, conversation: Conversation, settings: Settings, asked: Round) -> Learnt:
    """Raises BoardError where too few clients answer, however often it is tried."""
    began = time.monotonic()
    layout = conversation.layout
    share = (asked.number + 0.5) / settings.rounds
    for attempt in range(ATTEMPTS):
        conversation.begin_round()
        first, step = asked.share
        cohort = conversation.cohort(asked.stage, asked.number, attempt)[first::step]
        training = Training(
            course=conversation.offer.course,
            number=asked.number,
            nonce=secrets.token_hex(8),
            mask=layout.pack([asked.masks]),
            vector_V=asked.vector_V,
            learning_rate=settings.learning_rate * rise_and_fall(share, share),
            epochs=settings.epochs,
            batch=settings.batch,
            seed=settings.seed,
            counts=asked.counts,
            clip=settings.clip,
            noise=0.0,
        )
        free = {name: ~asked.masks[name].flatten().numpy() for name in asked.counts}
        answers = conversation.ask(Kind.TRAIN, cohort, encode(training))
        found = conversation.reader.updates(answers, training, hash_of(asked.masks), free)
        declined = sum(reason.startswith("declined") for reason in conversation.reader.left_out.values())
        if found and len(found) >= QUORUM * (len(cohort) - declined):
            break
    else:
        raise BoardError(
            f"round {asked.number}: too few clients answered, {ATTEMPTS} times: {conversation.left_out()}",
            hint="see why, then give the same command again: it goes on from the last full round",
        )
    updates = tuple(found.values())
    record = RoundRecord(
        number=asked.number,
        stage=asked.stage,
        seconds=time.monotonic() - began,
        clients=tuple(conversation.known[number].name for number in found),
        left_out=conversation.left_out(),
        loss=float(np.average([one.loss for one in updates], weights=[one.samples for one in updates])),
        accuracy=None,
        down_bytes=conversation.down_bytes,
        up_bytes=conversation.up_bytes,
        macs=sum(one.macs for one in updates),
        peak_bytes=max(one.peak_bytes for one in updates),
        exchanged=0,
        densities={name: float(mask.float().mean()) for name, mask in asked.masks.items()},
    )
    return Learnt(
        asked_V=asked.vector_V,
        vector_V=averaged(module, layout, settings, asked, updates),
        learning_rate=training.learning_rate,
        updates=updates,
        record=record,
    )


def averaged(
    module: fx.GraphModule, layout: Layout, settings: Settings, asked: Round, updates: tuple[Update, ...]
) -> NDArray[np.float32]:
    """The vector moved by the trimmed mean of the updates, no part of which is much longer than that of most."""
    delta_KV = np.stack([one.delta_V for one in updates])
    number = kept(asked.masks)
    for part in (layout.parameters(number), layout.statistics(number)):
        delta_KV = bounded(delta_KV, part, settings.norm_limit)
    has_KV = None
    if any(one.part != Part.ALL for one in updates):
        has_KV = np.stack([covered(module, layout, asked.masks, Part(one.part)) for one in updates])
    mean_V = trimmed_mean(delta_KV, weights_of([one.samples for one in updates]), settings.trim, has_KV)
    vector_V = asked.vector_V.astype(np.float64)
    statistics = layout.statistics(number)
    vector_V[statistics] = second_moments(vector_V[statistics])
    vector_V += mean_V
    vector_V[statistics] = central_moments(vector_V[statistics])
    return vector_V.astype(np.float32)
