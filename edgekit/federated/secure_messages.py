"""What the clients and the server of a secure aggregation tell each other, as bytes and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Self

from edgekit.core.errors import BadInputError, InfeasibleError, UsageError
from edgekit.federated.agreement import KEY_BYTES, SEED_BYTES, commitment, public_key
from edgekit.federated.randomness import RandomBytes

SMALLEST_COHORT = 3
"""Of two, each could subtract its own vector from the sum."""
NUMBER_BYTES = 8
ADVERTISEMENT_BYTES = NUMBER_BYTES + 3 * KEY_BYTES
SHARE_BYTES = NUMBER_BYTES + SEED_BYTES


class TooFewClientsError(InfeasibleError):
    """Fewer clients than a sum may be made of: the round is lost, but nobody's vector is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advertisement:
    """A client's public keys for one round, and by what the seed of its own mask is recognised."""

    client: int
    sealing_key: bytes
    masking_key: bytes
    commitment: bytes

    def to_bytes(self) -> bytes:
        return number_bytes(self.client) + self.sealing_key + self.masking_key + self.commitment

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Raises BadInputError where the length is wrong."""
        client, sealing, masking, committed = _cut(content, NUMBER_BYTES, KEY_BYTES, KEY_BYTES, KEY_BYTES)
        return cls(
            client=int.from_bytes(client, "little"), sealing_key=sealing, masking_key=masking, commitment=committed
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Secrets:
    """What a client keeps to itself from the first step of a round to the last, and then forgets; never printed."""

    client: int
    sealing_seed: bytes = field(repr=False)
    masking_seed: bytes = field(repr=False)
    own_seed: bytes = field(repr=False)

    @classmethod
    def drawn(cls, client: int, random_bytes: RandomBytes) -> Self:
        """For one round alone: what hides a client that is lost becomes known."""
        return cls(
            client=client,
            sealing_seed=random_bytes(SEED_BYTES),
            masking_seed=random_bytes(SEED_BYTES),
            own_seed=random_bytes(SEED_BYTES),
        )

    def advertisement(self) -> Advertisement:
        return Advertisement(
            client=self.client,
            sealing_key=public_key(self.sealing_seed),
            masking_key=public_key(self.masking_seed),
            commitment=commitment(self.own_seed),
        )

    def to_bytes(self) -> bytes:
        return number_bytes(self.client) + self.sealing_seed + self.masking_seed + self.own_seed

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Raises BadInputError where the length is wrong."""
        client, sealing, masking, own = _cut(content, NUMBER_BYTES, SEED_BYTES, SEED_BYTES, SEED_BYTES)
        return cls(client=int.from_bytes(client, "little"), sealing_seed=sealing, masking_seed=masking, own_seed=own)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """Who takes part in the round named `session`, in the order of numbers, and of how many a sum is made at least.

    Raises UsageError for a minimum below 3, TooFewClientsError for a cohort below the minimum, and BadInputError where two
    clients have the same number or key.
    """

    session: bytes
    minimum: int
    advertisements: tuple[Advertisement, ...]

    def __post_init__(self) -> None:
        if self.minimum < SMALLEST_COHORT:
            raise UsageError(
                f"a minimum cohort of {self.minimum}, expected {SMALLEST_COHORT} or more",
                hint="from the sum of two, each client knows what the other sent",
            )
        for name in (one.name for one in fields(Advertisement)):
            if len({getattr(one, name) for one in self.advertisements}) != len(self.advertisements):
                raise BadInputError(f"the cohort lists one {name} twice", hint="the round must start again")
        if list(self.clients) != sorted(self.clients):
            raise BadInputError("the cohort is not in order", hint="sort it by the numbers of its clients")
        self.require(self.clients)

    @property
    def clients(self) -> tuple[int, ...]:
        return tuple(one.client for one in self.advertisements)

    @property
    def threshold(self) -> int:
        """So many clients must be left at every step: the minimum, and more than half."""
        return max(self.minimum, len(self.advertisements) // 2 + 1)

    def require(self, clients: Collection[int]) -> None:
        """Raises TooFewClientsError where they are fewer than the threshold, BadInputError for a stranger or one twice."""
        if not set(clients) <= set(self.clients) or len(set(clients)) != len(clients):
            raise BadInputError("a client is not in the cohort, or is listed twice", hint="the round must start again")
        if len(clients) < self.threshold:
            raise TooFewClientsError(
                f"{len(clients)} of {len(self.advertisements)} clients are left, expected {self.threshold} or more "
                "for a secure sum",
                hint="try the round again with other clients, or lower the minimum cohort",
            )

    def of(self, client: int) -> Advertisement:
        """Raises BadInputError where it is not of the cohort."""
        for one in self.advertisements:
            if one.client == client:
                return one
        raise BadInputError(f"client {client} is not in the cohort", hint="it may take part in the next round")

    def to_bytes(self) -> bytes:
        head = bytes([len(self.session)]) + self.session + number_bytes(self.minimum)
        return head + b"".join(one.to_bytes() for one in self.advertisements)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Raises BadInputError where the length is wrong, and as the class does."""
        named = content[0] if content else 0
        count = max(0, len(content) - 1 - named - NUMBER_BYTES) // ADVERTISEMENT_BYTES
        _, session, minimum, *parts = _cut(content, 1, named, NUMBER_BYTES, *(ADVERTISEMENT_BYTES,) * count)
        return cls(
            session=session,
            minimum=int.from_bytes(minimum, "little"),
            advertisements=tuple(map(Advertisement.from_bytes, parts)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Revealed:
    """What one client has of each other: a share of the seed of its own mask where it survived, else of its pairwise masks."""

    client: int
    shares: Mapping[int, bytes] = field(repr=False)

    def to_bytes(self) -> bytes:
        rows = (number_bytes(number) + share for number, share in self.shares.items())
        return number_bytes(self.client) + b"".join(rows)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Raises BadInputError where the length is wrong."""
        count = max(0, len(content) - NUMBER_BYTES) // SHARE_BYTES
        client, *parts = _cut(content, NUMBER_BYTES, *(NUMBER_BYTES, SEED_BYTES) * count)
        shares = {
            int.from_bytes(number, "little"): share for number, share in zip(parts[::2], parts[1::2], strict=True)
        }
        return cls(client=int.from_bytes(client, "little"), shares=shares)


def number_bytes(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "little")


def _cut(content: bytes, *lengths: int) -> list[bytes]:
    if len(content) != sum(lengths):
        raise BadInputError(
            f"a message of {len(content)} bytes, expected {sum(lengths)}",
            hint="use the same version of edgekit on both sides",
        )
    parts, start = [], 0
    for length in lengths:
        parts.append(content[start : start + length])
        start += length
    return parts
