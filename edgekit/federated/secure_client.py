"""A client's part in one secure sum: its secrets live from the keys to what it reveals, and each step is answered once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgekit.core.errors import BadInputError
from edgekit.federated.agreement import SEALED_BYTES
from edgekit.federated.fixed_point import Ring
from edgekit.federated.messages import (
    Keys,
    KeysWanted,
    Masked,
    Networks,
    RevealWanted,
    Shares,
    SharesWanted,
    Training,
    Unmasking,
)
from edgekit.federated.randomness import RandomBytes
from edgekit.federated.secure_aggregation import masked, revealed, shared
from edgekit.federated.secure_messages import Cohort, Secrets


@dataclass(kw_only=True, slots=True)
class SecureSum:
    """Whoever is asked twice, out of turn or for another sum raises BadInputError: two answers could uncover the client."""

    wanted: KeysWanted
    secrets: Secrets = field(repr=False)
    cohort: Cohort | None = None
    senders: tuple[int, ...] | None = None

    @classmethod
    def begun(cls, wanted: KeysWanted, random_bytes: RandomBytes) -> SecureSum:
        return cls(wanted=wanted, secrets=Secrets.drawn(wanted.client, random_bytes))

    def keys(self) -> Keys:
        return Keys(
            course=self.wanted.course,
            nonce=self.wanted.nonce,
            advertisement=self.secrets.advertisement().to_bytes(),
        )

    def shares(self, wanted: SharesWanted, random_bytes: RandomBytes) -> Shares:
        self._check(wanted, in_turn=self.cohort is None)
        cohort = Cohort.from_bytes(wanted.cohort)
        if cohort.session != self.wanted.nonce.encode():
            raise _out_of_turn()
        sealed = shared(self.secrets, cohort, random_bytes)
        self.cohort = cohort
        return Shares(course=wanted.course, nonce=wanted.nonce, sealed=b"".join(sealed.values()))

    def cohort_of(self, request: Training | Networks) -> Cohort:
        self._check(request, in_turn=self.senders is None)
        if self.cohort is None:
            raise _out_of_turn()
        return self.cohort

    def masked(self, request: Training | Networks, mask_sha256: str, vector_P: Ring) -> Masked:
        cohort, senders = self.cohort_of(request), tuple(request.senders.tolist())
        masked_P = masked(self.secrets, cohort, senders, vector_P)
        self.senders = senders
        return Masked(
            course=request.course, nonce=request.nonce, mask_sha256=mask_sha256, masked_P=masked_P.view(np.int32)
        )

    def unmasking(self, wanted: RevealWanted) -> Unmasking:
        """The last step; the caller forgets the sum before."""
        self._check(wanted, in_turn=self.senders is not None)
        if self.cohort is None or self.senders is None or len(wanted.inbox) != SEALED_BYTES * len(self.senders):
            raise _out_of_turn()
        inbox = {
            sender: wanted.inbox[place * SEALED_BYTES : (place + 1) * SEALED_BYTES]
            for place, sender in enumerate(self.senders)
        }
        answer = revealed(self.secrets, self.cohort, inbox, wanted.survivors.tolist())
        return Unmasking(course=wanted.course, nonce=wanted.nonce, revealed=answer.to_bytes())

    def _check(self, message: SharesWanted | Training | Networks | RevealWanted, *, in_turn: bool) -> None:
        if not in_turn or (message.course, message.nonce) != (self.wanted.course, self.wanted.nonce):
            raise _out_of_turn()


def _out_of_turn() -> BadInputError:
    return BadInputError("a step of a secure sum came out of turn", hint="the round must start again")
