"""Answers of clients, read and checked one by one: what is not in order is left out with its reason, and never counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError
from edgekit.federated.layout import Layout
from edgekit.federated.messages import Declined, Enrolled, Losses, Statistics, Training, Update
from edgekit.federated.parts import Part
from edgekit.federated.wire import decode, is_a

MOST_SAMPLES = 10**9

S = TypeVar("S", np.int32, np.float32)


@dataclass(kw_only=True, slots=True)
class Reader:
    """Of the answers in one course; `left_out` collects a reason by client's number."""

    course: str
    layout: Layout
    left_out: dict[int, str] = field(default_factory=dict)

    def enrolled(self, answers: Mapping[int, bytes]) -> dict[int, Enrolled]:
        found: dict[int, Enrolled] = {}
        names: set[str] = set()
        for number, content in answers.items():
            try:
                one = decode(content, Enrolled)
                self._check(one.course, one.samples)
                if not one.name or len(one.name) > 200 or one.name in names:
                    raise BadInputError(f"the name {one.name[:40]!r} is empty, too long or taken")
            except BadInputError as error:
                self.left_out[number] = error.message
                continue
            names.add(one.name)
            found[number] = one
        return found

    def statistics(self, answers: Mapping[int, bytes], number_of_networks: int) -> dict[int, Statistics]:
        found: dict[int, Statistics] = {}
        for number, content in answers.items():
            try:
                self._declined(content)
                one = decode(content, Statistics)
                self._check(one.course, one.samples)
                _shaped("moments", one.moments_CS, (number_of_networks, self.layout.moments))
            except BadInputError as error:
                self.left_out[number] = error.message
            else:
                found[number] = one
        return found

    def losses(self, answers: Mapping[int, bytes], number_of_networks: int) -> dict[int, Losses]:
        found: dict[int, Losses] = {}
        for number, content in answers.items():
            try:
                self._declined(content)
                one = decode(content, Losses)
                self._check(one.course, one.samples)
                _shaped("losses", one.loss_C, (number_of_networks,))
            except BadInputError as error:
                self.left_out[number] = error.message
            else:
                found[number] = one
        return found

    def updates(
        self, answers: Mapping[int, bytes], training: Training, mask_sha256: str, free: Mapping[str, NDArray[np.bool_]]
    ) -> dict[int, Update]:
        """Of this request alone. `free` says, by layer asked for gradients, which weights are pruned."""
        found: dict[int, Update] = {}
        for number, content in answers.items():
            try:
                self._declined(content)
                one = decode(content, Update)
                self._check(one.course, one.samples)
                self._check_update(one, training, mask_sha256, free)
            except BadInputError as error:
                self.left_out[number] = error.message
            else:
                found[number] = one
        return found

    def _check(self, course: str, samples: int) -> None:
        if course != self.course:
            raise BadInputError("the answer belongs to another course")
        if not 0 < samples <= MOST_SAMPLES:
            raise BadInputError(f"the client has {samples} samples, expected at least one")

    def _check_update(
        self, one: Update, training: Training, mask_sha256: str, free: Mapping[str, NDArray[np.bool_]]
    ) -> None:
        if (one.number, one.nonce) != (training.number, training.nonce):
            raise BadInputError("the answer belongs to another request: an old one, or a replay")
        if one.mask_sha256 != mask_sha256:
            raise BadInputError("the update belongs to another mask")
        if one.part not in set(Part):
            raise BadInputError(f"the update is of the part {one.part[:40]!r}")
        _shaped("update", one.delta_V, training.vector_V.shape)
        if not np.isfinite(one.loss):
            raise BadInputError("the loss is not finite")
        counts = [(name, training.counts[name]) for name in sorted(training.counts)]
        wanted = sum(count for _, count in counts)
        _shaped("gradients", one.value_A, (wanted,))
        if one.index_A.shape != (wanted,):
            raise BadInputError(f"the gradients' places have shape {one.index_A.shape}, expected {(wanted,)}")
        for (name, _), index_A in zip(counts, parts_of(one.index_A, counts), strict=True):
            inside = (index_A >= 0) & (index_A < free[name].size)
            if not inside.all() or not free[name][index_A].all() or len(np.unique(index_A)) != len(index_A):
                raise BadInputError(f"the gradients of {name} are at places that are not pruned")

    @staticmethod
    def _declined(content: bytes) -> None:
        if is_a(content, Declined):
            raise BadInputError(f"declined: {decode(content, Declined).reason[:200]}")


def parts_of(array_A: NDArray[S], counts: list[tuple[str, int]]) -> list[NDArray[S]]:
    """An array over the gradients of several layers, layer by layer."""
    return np.split(array_A, np.cumsum([count for _, count in counts])[:-1]) if counts else []


def _shaped(what: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise BadInputError(f"the {what} have shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise BadInputError(f"the {what} are not finite")
