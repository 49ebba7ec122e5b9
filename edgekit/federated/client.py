"""A client: it keeps its samples, and answers requests with what may leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from edgekit.core.errors import BadInputError
from edgekit.federated.costs import ClientBudget, Cost, Kernels, cost_of, samples_seen
from edgekit.federated.layout import Layout, second_moments
from edgekit.federated.messages import (
    Declined,
    Enrolled,
    Keys,
    KeysWanted,
    Losses,
    Masked,
    Networks,
    Offer,
    Release,
    RevealWanted,
    SharesWanted,
    Statistics,
    Training,
    Update,
)
from edgekit.federated.parts import Part, training_only
from edgekit.federated.privacy import clipped
from edgekit.federated.randomness import RandomAt
from edgekit.federated.releases import POOL, Summand, Tally, cut, moment_units, positions_of, released, units_of
from edgekit.federated.transport import Kind
from edgekit.federated.wire import decode, encode
from edgekit.passes.fedtiny_clients import generator
from edgekit.pruning.batch_norm_selection import mean_loss, measured
from edgekit.pruning.masked_training import train_masked
from edgekit.pruning.masks import Masks, hash_of, kept
from edgekit.pruning.progressive import Sparse, gradients_at, largest_gradients
from edgekit.pruning.sparse_training.training import train_sparse
from edgekit.pruning.targets import Answers, cross_entropy

if TYPE_CHECKING:
    from edgekit.federated.secure_client import SecureSum
    from edgekit.federated.secure_messages import Cohort

GRADIENT_BATCHES = 4
"""Mini-batches whose mean gradient says which weights grow."""
JUDGING_BATCH = 256
_WAYS = ((Part.ALL, Kernels.DENSE), (Part.ALL, Kernels.SPARSE), (Part.LIGHT, Kernels.DENSE))
JUDGING_SAMPLES = 512
"""At most, drawn at random once, by which a client measures and judges networks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalSamples:
    """Pictures `x_NCHW` uint8 RGB, or any float32 inputs `x_N`, and the number of the output that is right, `y_N`."""

    x_N: Tensor
    y_N: Tensor

    def __len__(self) -> int:
        return len(self.y_N)

    def inputs(self, indices_B: Tensor, mean_std: tuple[Tensor, Tensor] | None) -> Tensor:
        """As the network takes them."""
        x_B = self.x_N[indices_B]
        if x_B.dtype == torch.uint8:
            x_B = x_B.float() / 255
        return x_B if mean_std is None else (x_B - mean_std[0]) / mean_std[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Studied:
    """A network that a course trains, and how its pictures are prepared: `size` pixels a side, then mean and standard deviation."""

    module: fx.GraphModule
    size: int
    mean_std: tuple[Tensor, Tensor] | None
    labels: tuple[str, ...]
    answers: Answers


@dataclass(kw_only=True, slots=True)
class Client:
    """`study` makes the network of an offer and keeps it, `studied` finds it again by the course; `samples_of` gives the samples
    that it can learn from. Noise and keys come from `random_at`. The client is in one secure sum at a time."""

    name: str
    study: Callable[[Offer], Studied]
    studied: Callable[[str], Studied | None]
    samples_of: Callable[[Studied], LocalSamples]
    random_at: RandomAt
    budget: ClientBudget = field(default_factory=ClientBudget)
    secure_sum: SecureSum | None = field(default=None, init=False, repr=False)

    def answer(self, kind: Kind, request: bytes) -> bytes:
        """Raises BadInputError for a request that makes no sense; whoever carries it tells the server that there is no answer."""
        if kind is Kind.OFFER:
            return encode(self._enrol(decode(request, Offer)))
        if kind is Kind.KEYS:
            return encode(self._begin_sum(decode(request, KeysWanted)))
        if kind is Kind.SHARES:
            return self._share(decode(request, SharesWanted))
        if kind is Kind.REVEAL:
            return self._reveal(decode(request, RevealWanted))
        message = decode(request, Training) if kind is Kind.TRAIN else decode(request, Networks)
        studied = self.studied(message.course)
        if studied is None:
            return encode(Declined(course=message.course, reason="the network of this course is not here"))
        pupil = _Pupil(client=self, studied=studied, samples=self.samples_of(studied), layout=Layout.of(studied.module))
        if isinstance(message, Training):
            return encode(pupil.train(message, len(request)))
        return encode(pupil.measure(message) if kind is Kind.STATISTICS else pupil.judge(message))

    def _enrol(self, offer: Offer) -> Enrolled | Declined:
        studied = self.study(offer)
        if not len(self.samples_of(studied)):
            return Declined(course=offer.course, reason="there are no samples of these labels")
        return Enrolled(course=offer.course, name=self.name)

    def _begin_sum(self, wanted: KeysWanted) -> Keys | Declined:
        from edgekit.federated.secure_client import SecureSum

        if self.studied(wanted.course) is None:
            return Declined(course=wanted.course, reason="the network of this course is not here")
        self.secure_sum = SecureSum.begun(wanted, self.random_at(wanted.number, "keys"))
        return self.secure_sum.keys()

    def _share(self, wanted: SharesWanted) -> bytes:
        one = self.current_sum()
        return encode(one.shares(wanted, self.random_at(one.wanted.number, "shares")))

    def _reveal(self, wanted: RevealWanted) -> bytes:
        one, self.secure_sum = self.current_sum(), None
        return encode(one.unmasking(wanted))

    def current_sum(self) -> SecureSum:
        """Raises BadInputError where there is none."""
        if self.secure_sum is None:
            raise BadInputError("a step came of a secure sum that has not begun", hint="the round must start again")
        return self.secure_sum


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pupil:
    """A client with the network and samples of one course."""

    client: Client
    studied: Studied
    samples: LocalSamples
    layout: Layout

    @property
    def module(self) -> fx.GraphModule:
        return self.studied.module

    def measure(self, networks: Networks) -> Statistics | Masked:
        self._check_turn(networks)
        moments = []
        for _ in self._each(networks):
            inputs = (self.samples.inputs(some, self.studied.mean_std) for some in self._judging())
            moments.append(self.layout.moments_of(measured(self.module, inputs)))
        moments_CS = np.stack(moments)
        if len(networks.senders):
            masks_C = self.layout.unpack(networks.masks, len(networks.vector_CV))
            unit_CS = moment_units(self.layout, masks_C, networks.vector_CV)
            return self._tallied(networks, second_moments(moments_CS.astype(np.float64)) / unit_CS, Tally.of_moments)
        return Statistics(course=networks.course, samples=len(self.samples), moments_CS=moments_CS)

    def judge(self, networks: Networks) -> Losses | Masked:
        self._check_turn(networks)
        losses = [
            mean_loss(self.module, ((len(some), self._loss_on(some)) for some in self._judging()))
            for _ in self._each(networks)
        ]
        loss_C = np.asarray(losses, np.float32)
        if len(networks.senders):
            return self._tallied(networks, loss_C, Tally.of_losses)
        return Losses(course=networks.course, samples=len(self.samples), loss_C=loss_C)

    def train(self, training: Training, request_bytes: int) -> Update | Release | Masked | Declined:
        if len(self.samples) < 2:
            return Declined(course=training.course, reason="fewer than two samples")
        self._check_turn(training)
        (masks,) = self.layout.unpack(training.mask, 1)
        self.layout.load(self.module, masks, training.vector_V)
        chosen = self._affordable(training, masks, request_bytes)
        if isinstance(chosen, Declined):
            return chosen
        part, kernels, cost = chosen
        gradients_of = self._gradients_at_positions if training.private else self._gradients
        sparse = gradients_of(training, masks) if training.counts else []
        losses: list[float] = []
        if kernels is Kernels.SPARSE:
            train_sparse(self.module, masks, {}, self._steps(training, losses))
        else:
            with training_only(self.module, part):
                train_masked(self.module, masks, {}, self._steps(training, losses), measures=part is Part.ALL)
        after = self.layout.vector(self.module, masks).astype(np.float64)
        before = training.vector_V.astype(np.float64)
        statistics = self.layout.statistics(kept(masks))
        for vector in (before, after):
            vector[statistics] = second_moments(vector[statistics])
        delta_V = (after - before).astype(np.float32)
        value_A = np.concatenate([np.empty(0, np.float32), *(one.value_A.numpy() for one in sparse)])
        loss = sum(losses) / len(losses)
        if training.clip:
            unit_V = units_of(training.vector_V, statistics)
            cut_V = cut(delta_V / unit_V, statistics, training.clip)
            delta_V = cut_V if training.private else cut_V * unit_V
        if training.private:
            return self._private(training, masks, part, delta_V, value_A, loss)
        if training.clip:
            value_A = clipped(value_A, training.clip)
        return Update(
            course=training.course,
            number=training.number,
            nonce=training.nonce,
            mask_sha256=hash_of(masks),
            samples=len(self.samples),
            loss=loss,
            part=part.value,
            delta_V=delta_V,
            index_A=np.concatenate([np.empty(0, np.int32), *(one.index_A.numpy().astype(np.int32) for one in sparse)]),
            value_A=value_A,
            macs=cost.macs,
            peak_bytes=cost.peak_bytes,
        )

    def _private(
        self,
        training: Training,
        masks: Masks,
        part: Part,
        delta_V: NDArray[np.float32],
        value_A: NDArray[np.float32],
        loss: float,
    ) -> Release | Masked:
        random_bytes = self.client.random_at(training.number, "release")
        if len(training.senders):
            one = self.client.current_sum()
            integers_P = Summand.of(training, len(delta_V) + len(value_A), one.cohort_of(training)).encoded(
                delta_V, value_A, loss=loss, samples=len(self.samples), random_bytes=random_bytes
            )
            return one.masked(training, hash_of(masks), integers_P)
        return Release(
            course=training.course,
            number=training.number,
            nonce=training.nonce,
            mask_sha256=hash_of(masks),
            part=part.value,
            vector_P=released(training, delta_V, value_A, 1, random_bytes),
        )

    def _tallied(
        self, networks: Networks, found: NDArray[np.floating], tally: Callable[[int, Cohort], Tally]
    ) -> Masked:
        one, vector_P = self.client.current_sum(), found.astype(np.float32).reshape(-1)
        integers_P = tally(len(vector_P), one.cohort_of(networks)).form.encoded(
            vector_P, len(self.samples), self.client.random_at(one.wanted.number, "vote")
        )
        return one.masked(networks, sha256(networks.masks).hexdigest(), integers_P)

    def _check_turn(self, request: Training | Networks) -> None:
        """Before it is worked on in vain."""
        if len(request.senders):
            self.client.current_sum().cohort_of(request)

    def _each(self, networks: Networks) -> Iterator[None]:
        """Each of the networks in turn, in the module."""
        masks_C = self.layout.unpack(networks.masks, len(networks.vector_CV))
        for masks, vector_V in zip(masks_C, networks.vector_CV, strict=True):
            self.layout.load(self.module, masks, vector_V)
            yield

    def _judging(self) -> tuple[Tensor, ...]:
        order_N = torch.randperm(len(self.samples), generator=generator(self.client.name, "judging"))
        return torch.split(order_N[:JUDGING_SAMPLES], JUDGING_BATCH)

    def _affordable(
        self, training: Training, masks: Masks, request_bytes: int
    ) -> tuple[Part, Kernels, Cost] | Declined:
        """The fastest way to train the most of the network that the budget allows, and its cost."""
        shape = self.samples.x_N.shape[1:]
        batch = min(training.batch, len(self.samples))
        seen = samples_seen(len(self.samples), epochs=training.epochs, batch=training.batch)
        each = 4 * POOL if training.private else 8
        replied = training.vector_V.nbytes + each * sum(training.counts.values())
        obstacle = ""
        for part, kernels in _WAYS:
            cost = cost_of(self.module, masks, shape, batch=batch, samples=seen, part=part, kernels=kernels)
            cost = replace(cost, traffic_bytes=request_bytes + replied)
            obstacle = self.client.budget.obstacle(cost)
            if not obstacle:
                return part, kernels, cost
        if training.private:
            obstacle = "the round is more than it can afford"  # figures would tell how many samples there are
        return Declined(course=training.course, reason=obstacle)

    def _gradients(self, training: Training, masks: Masks) -> list[Sparse]:
        """The largest of each layer asked for, in the order of names."""
        found = largest_gradients(self.module, masks, training.counts, self._gradient_losses(training))
        return [found[name] for name in sorted(found)]

    def _gradients_at_positions(self, training: Training, masks: Masks) -> list[Sparse]:
        """Those that all clients tell."""
        index = {name: torch.from_numpy(one) for name, one in positions_of(training, masks).items()}
        return list(gradients_at(self.module, index, self._gradient_losses(training)).values())

    def _gradient_losses(self, training: Training) -> list[Callable[[nn.Module], Tensor]]:
        """On mini-batches of their own draw."""
        generator_ = generator(training.seed, self.client.name, training.number, "gradients")
        order_N = torch.randperm(len(self.samples), generator=generator_)
        batches = torch.split(order_N, training.batch)[:GRADIENT_BATCHES]
        return [self._loss_on(some) for some in batches]

    def _steps(self, training: Training, losses: list[float]) -> Iterator[tuple[float, Callable[[nn.Module], Tensor]]]:
        """Whole passes over the samples, each in an order of its own; `losses` grows."""
        batch = min(training.batch, len(self.samples))
        for epoch in range(training.epochs):
            generator_ = generator(training.seed, self.client.name, training.number, epoch)
            order_N = torch.randperm(len(self.samples), generator=generator_)
            for first in range(0, len(order_N) - batch + 1, batch):
                loss_of = self._loss_on(order_N[first : first + batch])

                def noted(module: nn.Module, loss_of: Callable[[nn.Module], Tensor] = loss_of) -> Tensor:
                    loss = loss_of(module)
                    losses.append(float(loss.detach()))
                    return loss

                yield training.learning_rate, noted

    def _loss_on(self, indices_B: Tensor) -> Callable[[nn.Module], Tensor]:
        x_B, y_B = self.samples.inputs(indices_B, self.studied.mean_std), self.samples.y_N[indices_B]

        def loss(module: nn.Module) -> Tensor:
            return cross_entropy(self.studied.answers, module(x_B), y_B)

        return loss
