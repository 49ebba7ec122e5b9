"""Secure aggregation: the server learns the sum of the clients' vectors, and nothing of a single one.

The protocol of Bonawitz et al. (ACM CCS 2017, section 4) with every client the neighbour of every other, against a server that is
honest but curious and up to threshold - 1 clients that tell it what they know. A round has four steps:

1. Every client draws `Secrets`, and the server makes a `Cohort` of their advertisements, which goes to all.
2. `shared`: a client splits the secret of its pairwise masks and the seed of its own mask among all, sealed for each.
3. `masked`: its vector of integers, plus its own mask, plus or minus one mask with each other client.
4. `revealed`: a survivor tells the server one share per client: of the own mask of one that survived too, of the pairwise masks
   of one that was lost, never both. `unmasked` takes all masks off the sum.

The threshold is more than half of the cohort: a server that tells half of the clients that someone survived and the others
that it was lost cannot get both of its secrets. Public keys are not signed, so a server that invents clients, or puts itself
between two, is not kept out; and a sum does not show who spoilt it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.core.errors import BadInputError
from edgekit.federated.agreement import (
    NONCE_BYTES,
    SEALED_BYTES,
    SEED_BYTES,
    agreed,
    commitment,
    derived,
    expanded,
    joined,
    opened,
    public_key,
    sealed,
    split,
)
from edgekit.federated.fixed_point import Ring
from edgekit.federated.randomness import RandomBytes
from edgekit.federated.secure_messages import (
    ADVERTISEMENT_BYTES,
    NUMBER_BYTES,
    SHARE_BYTES,
    Cohort,
    Revealed,
    Secrets,
    number_bytes,
)


def shared(secrets: Secrets, cohort: Cohort, random_bytes: RandomBytes) -> dict[int, bytes]:
    """By receiver (itself too), a share of each of the client's two secrets, which the server passes on and cannot read.

    Raises BadInputError where the cohort has other keys for this client than its own.
    """
    if cohort.of(secrets.client) != secrets.advertisement():
        raise BadInputError("the cohort lists other keys for this client", hint="the round must start again")
    own, masking = (
        split(secret, cohort.threshold, len(cohort.clients)) for secret in (secrets.own_seed, secrets.masking_seed)
    )
    return {
        receiver: sealed(
            _sealing_key(secrets, cohort, receiver, sender=secrets.client, receiver=receiver),
            random_bytes(NONCE_BYTES),
            own[place] + masking[place],
        )
        for place, receiver in enumerate(cohort.clients)
    }


def masked(secrets: Secrets, cohort: Cohort, senders: Collection[int], vector_P: Ring) -> Ring:
    """What the server gets of the vector; `senders` are the clients whose shares came, this one among them.

    It is uniformly random to whoever does not know the masks. Raises TooFewClientsError below the threshold.
    """
    cohort.require(senders)
    if secrets.client not in senders:
        raise BadInputError("the sum leaves out this client", hint="it may take part in the next round")
    masked_P = vector_P + _own_mask(secrets.own_seed, cohort, len(vector_P))
    for mask_P in _pairwise_masks(secrets.client, secrets.masking_seed, cohort, senders, len(vector_P)):
        masked_P += mask_P
    return masked_P


def revealed(secrets: Secrets, cohort: Cohort, inbox: Mapping[int, bytes], survivors: Collection[int]) -> Revealed:
    """What takes the masks off the sum of the survivors; `inbox` is by sender, with the senders that `masked` was told.

    A client answers this once a round and forgets its secrets: two answers with other survivors would uncover a client. Raises
    TooFewClientsError below the threshold, BadInputError where shares do not open or survivors never sent any.
    """
    cohort.require(survivors)
    if secrets.client not in survivors or not set(survivors) <= set(inbox):
        raise BadInputError(
            "the survivors include a client that did not take part, or leave out this one",
            hint="the round must start again",
        )
    shares = {}
    for sender, content in sorted(inbox.items()):
        key = _sealing_key(secrets, cohort, sender, sender=sender, receiver=secrets.client)
        pair = opened(key, content)
        shares[sender] = pair[:SEED_BYTES] if sender in survivors else pair[SEED_BYTES:]
    return Revealed(client=secrets.client, shares=shares)


def unmasked(
    cohort: Cohort, senders: Collection[int], vectors: Mapping[int, Ring], answers: Sequence[Revealed]
) -> Ring:
    """The sum of the survivors' vectors, exact modulo 2^32; `vectors` are what `masked` gave, by survivor.

    `senders` are those that `masked` was told: who is among them without a vector was lost. Raises TooFewClientsError below the
    threshold and BadInputError where vectors are of strangers or differ in length, or shares do not give a client's secret.
    """
    cohort.require(senders)
    cohort.require(vectors)
    cohort.require([answer.client for answer in answers])
    if not set(vectors) <= set(senders):
        raise BadInputError("a client that shared no secrets sent a vector", hint="try the round again")
    if len({len(vector_P) for vector_P in vectors.values()}) != 1:
        raise BadInputError("the masked vectors have different lengths", hint="all clients must use the same mask")
    sum_P: Ring = np.stack(list(vectors.values())).sum(0, dtype=np.uint32)
    for client in senders:
        seed = _joined(cohort, client, answers, survived=client in vectors)
        if client in vectors:
            sum_P -= _own_mask(seed, cohort, len(sum_P))
        else:
            for mask_P in _pairwise_masks(client, seed, cohort, vectors, len(sum_P)):
                sum_P += mask_P
    return sum_P


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Bytes of one client in one round of four steps."""

    up_bytes: int
    down_bytes: int


def traffic(entries: int, clients: int) -> Traffic:
    """What secure aggregation carries for each client, the vector in it, nobody lost; the model's way down is not counted."""
    sealed_shares = clients * (NUMBER_BYTES + SEALED_BYTES)
    return Traffic(
        up_bytes=ADVERTISEMENT_BYTES + sealed_shares + 4 * entries + NUMBER_BYTES + clients * SHARE_BYTES,
        down_bytes=clients * ADVERTISEMENT_BYTES + sealed_shares + clients * NUMBER_BYTES,
    )


def _joined(cohort: Cohort, client: int, answers: Sequence[Revealed], *, survived: bool) -> bytes:
    """A client's secret from shares, proved by what it advertised."""
    try:
        shares = {cohort.clients.index(one.client): one.shares[client] for one in answers[: cohort.threshold]}
    except KeyError as error:
        raise BadInputError(f"an answer holds no share of client {client}", hint="try the round again") from error
    seed = joined(shares)
    known = cohort.of(client)
    if (commitment(seed) != known.commitment) if survived else (public_key(seed) != known.masking_key):
        raise BadInputError(f"the shares of the secret of client {client} are wrong", hint="try the round again")
    return seed


def _own_mask(seed: bytes, cohort: Cohort, length: int) -> Ring:
    return expanded(derived(seed, b"own mask" + cohort.session), length)


def _pairwise_masks(client: int, seed: bytes, cohort: Cohort, others: Collection[int], length: int) -> Iterator[Ring]:
    """With a sign, so that those of two clients cancel."""
    for other in others:
        if other != client:
            mask_P = expanded(
                derived(agreed(seed, cohort.of(other).masking_key), b"pairwise mask" + cohort.session), length
            )
            yield mask_P if client < other else np.negative(mask_P)


def _sealing_key(secrets: Secrets, cohort: Cohort, other: int, *, sender: int, receiver: int) -> bytes:
    purpose = b"shares" + number_bytes(sender) + number_bytes(receiver) + cohort.session
    return derived(agreed(secrets.sealing_seed, cohort.of(other).sealing_key), purpose)
