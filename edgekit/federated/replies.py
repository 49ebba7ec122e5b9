"""Answers of clients, read and checked one by one: what is not in order is left out with its reason, and never counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError
from edgekit.federated.layout import Layout
from edgekit.federated.messages import Declined, Enrolled, Losses, Release, Statistics, Training, Update
from edgekit.federated.parts import Part
from edgekit.federated.wire import decode, is_a

MOST_SAMPLES = 10**9

S = TypeVar("S", np.int32, np.float32)


class OfCourse(Protocol):
    """An answer that says to which course it belongs."""

    @property
    def course(self) -> str: ...


M = TypeVar("M", bound=OfCourse)


@dataclass(kw_only=True, slots=True)
class Reader:
    """Of the answers in one course; `left_out` collects a reason by client's number."""

    course: str
    layout: Layout
    left_out: dict[int, str] = field(default_factory=dict)

    def enrolled(self, answers: Mapping[int, bytes]) -> dict[int, Enrolled]:
        names: set[str] = set()

        def check(one: Enrolled) -> None:
            if not one.name.isprintable() or not 0 < len(one.name) <= 200 or one.name in names:
                raise BadInputError(f"the name {one.name[:40]!r} is empty, too long, unprintable or taken")
            names.add(one.name)

        return self.read(answers, Enrolled, check)

    def statistics(self, answers: Mapping[int, bytes], number_of_networks: int) -> dict[int, Statistics]:
        def check(one: Statistics) -> None:
            _some(one.samples)
            shaped("moments", one.moments_CS, (number_of_networks, self.layout.moments))

        return self.read(answers, Statistics, check)

    def losses(self, answers: Mapping[int, bytes], number_of_networks: int) -> dict[int, Losses]:
        def check(one: Losses) -> None:
            _some(one.samples)
            shaped("losses", one.loss_C, (number_of_networks,))

        return self.read(answers, Losses, check)

    def updates(
        self, answers: Mapping[int, bytes], training: Training, mask_sha256: str, free: Mapping[str, NDArray[np.bool_]]
    ) -> dict[int, Update]:
        """Of this request alone. `free` says, by layer asked for gradients, which weights are pruned."""
        return self.read(answers, Update, lambda one: self._check_update(one, training, mask_sha256, free))

    def releases(
        self, answers: Mapping[int, bytes], training: Training, mask_sha256: str, size: int
    ) -> dict[int, Release]:
        """Of this request alone, of so many numbers."""

        def check(one: Release) -> None:
            _of_request(one, training, mask_sha256)
            shaped("release", one.vector_P, (size,))

        return self.read(answers, Release, check)

    def read(self, answers: Mapping[int, bytes], kind: type[M], check: Callable[[M], None]) -> dict[int, M]:
        """Those of the course that are no refusal, and against which `check` raises no BadInputError."""
        found: dict[int, M] = {}
        for number, content in answers.items():
            try:
                self._declined(content)
                one = decode(content, kind)
                if one.course != self.course:
                    raise BadInputError("the answer belongs to another course")
                check(one)
            except BadInputError as error:
                self.left_out[number] = error.message
            else:
                found[number] = one
        return found

    def _check_update(
        self, one: Update, training: Training, mask_sha256: str, free: Mapping[str, NDArray[np.bool_]]
    ) -> None:
        _some(one.samples)
        _of_request(one, training, mask_sha256)
        shaped("update", one.delta_V, training.vector_V.shape)
        if not np.isfinite(one.loss):
            raise BadInputError("the loss is not finite")
        counts = [(name, training.counts[name]) for name in sorted(training.counts)]
        wanted = sum(count for _, count in counts)
        shaped("gradients", one.value_A, (wanted,))
        if one.index_A.shape != (wanted,):
            raise BadInputError(f"the gradients' places have shape {one.index_A.shape}, expected {(wanted,)}")
        for (name, _), index_A in zip(counts, parts_of(one.index_A, counts), strict=True):
            inside = (index_A >= 0) & (index_A < free[name].size)
            if not inside.all() or not free[name][index_A].all() or len(np.unique(index_A)) != len(index_A):
                raise BadInputError(f"the gradients of {name} are at places that are not pruned")

    @staticmethod
    def _declined(content: bytes) -> None:
        if is_a(content, Declined):
            # What a client says ends up in reports and on terminals: no line of its own making.
            reason = decode(content, Declined).reason[:200]
            raise BadInputError(f"declined: {''.join(one if one.isprintable() else '?' for one in reason)}")


def _some(samples: int) -> None:
    if not 0 < samples <= MOST_SAMPLES:
        raise BadInputError(f"the client has {samples} samples, expected at least one")


def _of_request(one: Update | Release, training: Training, mask_sha256: str) -> None:
    if (one.number, one.nonce) != (training.number, training.nonce):
        raise BadInputError("the answer belongs to another request: an old one, or a replay")
    if one.mask_sha256 != mask_sha256:
        raise BadInputError("the update belongs to another mask")
    if one.part not in set(Part):
        raise BadInputError(f"the update is of the part {one.part[:40]!r}")


def parts_of(array_A: NDArray[S], counts: list[tuple[str, int]]) -> list[NDArray[S]]:
    """An array over the gradients of several layers, layer by layer."""
    return np.split(array_A, np.cumsum([count for _, count in counts])[:-1]) if counts else []


def shaped(what: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise BadInputError(f"the {what} have shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise BadInputError(f"the {what} are not finite")
