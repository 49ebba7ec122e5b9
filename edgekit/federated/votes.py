"""What a cohort finds about networks that nobody has trained yet: moments of what flows into normalisation, and losses."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BoardError
from edgekit.federated.averaging import trim_of
from edgekit.federated.conversation import Conversation
from edgekit.federated.layout import second_moments
from edgekit.federated.messages import Networks
from edgekit.federated.releases import Tally, moment_units
from edgekit.federated.settings import Settings
from edgekit.federated.training import ATTEMPTS
from edgekit.federated.transport import Kind
from edgekit.federated.wire import encode
from edgekit.pruning.aggregation import trimmed_mean, weights_of
from edgekit.pruning.masks import Masks

if TYPE_CHECKING:
    from edgekit.federated.secure_messages import Cohort

Found: TypeAlias = tuple[NDArray[np.floating], int]
"""By a client, or by a group of them in the mean, and over how many samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """Robust means over clients, or over groups of them whose secure sums alone are known."""

    conversation: Conversation
    settings: Settings

    def moments(self, masks_C: Sequence[Masks], vector_CV: NDArray[np.float32]) -> NDArray[np.float64]:
        """(C, S) means, then second moments, under each mask. Raises BoardError where too few answer."""
        networks, number = self._networks(masks_C, vector_CV), len(masks_C)
        if self.settings.secure:
            unit_CS = moment_units(self.conversation.layout, masks_C, vector_CV)
            found = self._summed(Kind.STATISTICS, networks, partial(Tally.of_moments, unit_CS.size))
            return self._mean(found).reshape(number, -1) * unit_CS
        answers = self.conversation.ask(Kind.STATISTICS, self.conversation.cohort("selection"), encode(networks))
        told = self.conversation.reader.statistics(answers, number).values()
        return self._mean(
            [(second_moments(one.moments_CS.astype(np.float64)).reshape(-1), one.samples) for one in told]
        ).reshape(number, -1)

    def losses(self, masks_C: Sequence[Masks], vector_CV: NDArray[np.float32]) -> list[float]:
        """Of each network. Raises BoardError where too few answer."""
        networks, number = self._networks(masks_C, vector_CV), len(masks_C)
        if self.settings.secure:
            found = self._summed(Kind.VOTE, networks, partial(Tally.of_losses, number))
        else:
            answers = self.conversation.ask(Kind.VOTE, self.conversation.cohort("selection"), encode(networks))
            told = self.conversation.reader.losses(answers, number).values()
            found = [(one.loss_C, one.samples) for one in told]
        return [float(loss) for loss in self._mean(found)]

    def _summed(self, kind: Kind, networks: Networks, sum_of: Callable[[Cohort], Tally]) -> list[Found]:
        """Of each group, tried again with others as a round of training is."""
        from edgekit.federated.secure_training import SecureRound

        for attempt in range(ATTEMPTS):
            self.conversation.begin_round()
            known = SecureRound(
                conversation=self.conversation,
                settings=self.settings,
                kind=kind,
                request=replace(networks, nonce=secrets.token_hex(8)),
                number=0,  # for both kinds, so that both are of the same groups where the same clients answer
                mask_sha256=sha256(networks.masks).hexdigest(),
                sum_of=sum_of,
                numbers=tuple(self.conversation.cohort("selection", attempt)),
            ).means()
            if known:
                return [(one.vector_P, one.samples) for one in known]
        return []

    def _mean(self, found: Sequence[Found]) -> NDArray[np.float64]:
        if not found:
            raise BoardError(
                f"too few clients judged the masks: {self.conversation.left_out()}",
                hint="fix the cause, then give the same command again",
            )
        values_KP = np.stack([values_P for values_P, _ in found])
        weight_K = weights_of([samples for _, samples in found])
        return trimmed_mean(values_KP, weight_K, trim_of(self.settings, len(found)))

    def _networks(self, masks_C: Sequence[Masks], vector_CV: NDArray[np.float32]) -> Networks:
        return Networks(
            course=self.conversation.offer.course,
            nonce="",
            masks=self.conversation.layout.pack(masks_C),
            vector_CV=vector_CV,
            senders=np.empty(0, np.int32),
        )
