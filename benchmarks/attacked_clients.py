"""Clients that the attacks of federated_attacks.py are played on, what the server sees of them, and what it finds in that."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from gradient_attacks import (
    as_numbers,
    completed,
    label_shares,
    labels_found,
    rounded_counts,
    similarity,
    unmixed_images,
)
from numpy.typing import NDArray
from signs43_resnet import LABELS, SHAPE
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.federated.fixed_point import FixedPoint
from edgekit.federated.privacy import Privacy
from edgekit.federated.secure_aggregation import masked, revealed, shared, unmasked
from edgekit.federated.secure_messages import Cohort, Secrets
from edgekit.pruning.masked_training import train_masked
from edgekit.pruning.masks import Masks, apply_masks, magnitude_masks, prunable
from edgekit.pruning.progressive import largest_gradients

HIDDEN = 128
CLIENTS = 10
SAMPLES = 64
"""Of each client."""
BATCH = 8
EPOCHS = 5
LEARNING_RATE = 0.05
DENSITY = 0.05
SKEW = 0.5
EXCHANGED = 0.3
ROUNDS = 8
"""Of a course: so many are enough to solve for single clients, and changes of later rounds tell less."""
MOST_COMPLETED = 16
"""Images, beyond which what lies on the mask cannot say what lies off it."""
MINIMUM_COHORT = 3
FIRST, LAST, LAST_WEIGHT = "1.weight", "3.bias", "3.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """Shares of labels found and mean similarities of images, beside what is guessed without the update."""

    labels: float
    labels_guessed: float
    images: float
    images_guessed: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What the server has: descents by parameter, of one gradient or of training, and of how many clients."""

    descents: Mapping[str, Tensor]
    indices_N: Tensor
    """The samples of the client that is attacked."""
    masks: Masks
    is_gradient: bool
    clients: int = 1


class Scene:
    """One draw of a network, its mask and its clients."""

    def __init__(self, x_NCHW: Tensor, y_N: Tensor, seed: int) -> None:
        self.x_NCHW, self.y_N = x_NCHW, y_N
        self.generator = np.random.default_rng(seed)
        torch.manual_seed(seed)
        pixels = x_NCHW[0].numel()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, LABELS))
        weights = prunable(self.network)
        counts = {name: round(DENSITY * weight.numel()) for name, weight in weights.items()}
        self.masks = magnitude_masks(weights, counts)
        self.clients = [self.draw(SAMPLES) for _ in range(CLIENTS)]

    def draw(self, samples: int) -> Tensor:
        """Of a client of its own."""
        labels = self.generator.choice(LABELS, samples, p=self.generator.dirichlet(np.full(LABELS, SKEW)))
        return torch.tensor([int(self.generator.choice(np.flatnonzero(self.y_N == label))) for label in labels])

    def gradient(self, indices_B: Tensor, masks: Masks) -> dict[str, Tensor]:
        module = copy.deepcopy(self.network)
        apply_masks(module, masks)
        self.loss(module, indices_B).backward()  # type: ignore[no-untyped-call]
        return {
            name: -parameter.grad * masks.get(name, torch.tensor(True))
            for name, parameter in module.named_parameters()
            if parameter.grad is not None
        }

    def change(self, indices_N: Tensor, masks: Masks, network: nn.Module | None = None) -> dict[str, Tensor]:
        """After whole local epochs."""
        module = copy.deepcopy(network or self.network)
        apply_masks(module, masks)
        before = {name: one.detach().clone() for name, one in module.named_parameters()}

        def steps() -> Iterator[tuple[float, Callable[[nn.Module], Tensor]]]:
            for _ in range(EPOCHS):
                order_N = torch.from_numpy(self.generator.permutation(len(indices_N)))
                for indices_B in indices_N[order_N].split(BATCH):
                    yield LEARNING_RATE, lambda module, indices_B=indices_B: self.loss(module, indices_B)

        train_masked(module, masks, {}, steps())
        return {name: one.detach() - before[name] for name, one in module.named_parameters()}

    def course(self, masks: Masks) -> Iterator[list[dict[str, Tensor]]]:
        """In each round the change of every client, in whose mean the network moves on."""
        network = copy.deepcopy(self.network)
        apply_masks(network, masks)
        for _ in range(ROUNDS):
            changes = [self.change(indices_N, masks, network) for indices_N in self.clients]
            yield changes
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    parameter += torch.stack([one[name] for one in changes]).mean(0)

    def largest(self, indices_N: Tensor) -> dict[str, Tensor]:
        """What an adjustment sends of the first and the last layer, as descents; sums of the last one's rows stand for its bias."""
        module = copy.deepcopy(self.network)
        apply_masks(module, self.masks)
        counts = {name: round(EXCHANGED * int(mask.sum())) for name, mask in self.masks.items()}
        losses = [partial(self.loss, indices_B=indices_B) for indices_B in indices_N.split(BATCH)]
        sparse = largest_gradients(module, self.masks, counts, losses)
        dense = {
            name: torch.zeros(mask.numel()).index_put((sparse[name].index_A,), -sparse[name].value_A).view(mask.shape)
            for name, mask in self.masks.items()
        }
        return {FIRST: dense[FIRST], LAST: dense[LAST_WEIGHT].sum(1)}

    def loss(self, module: nn.Module, indices_B: Tensor) -> Tensor:
        return F.cross_entropy(module(self.x_NCHW[indices_B]), self.y_N[indices_B])

    def leak(self, seen: Seen) -> Leak:
        """By the best of several ways to attack, as the attacker could do no better than know which."""
        module = copy.deepcopy(self.network)
        apply_masks(module, seen.masks)
        with torch.no_grad():
            made_up_NCHW = torch.rand(256, *SHAPE, generator=torch.Generator().manual_seed(0))
            probability_K = module(made_up_NCHW).softmax(1).mean(0)
        samples = len(seen.indices_N)
        count_K = torch.bincount(self.y_N[seen.indices_N], minlength=LABELS)
        share_K = label_shares(seen.descents[LAST], probability_K, is_gradient=seen.is_gradient)
        usual_K = torch.full((LABELS,), 1 / LABELS)
        images_ND = self.x_NCHW[seen.indices_N].flatten(1)
        found = [(float(similarity(found_ND, images_ND).mean()), len(found_ND)) for found_ND in self.unmixed(seen)]
        images, guesses = max(found)
        return Leak(
            labels=labels_found(rounded_counts(share_K, samples), count_K),
            labels_guessed=labels_found(rounded_counts(usual_K, samples), count_K),
            images=images,
            images_guessed=float(similarity(self.x_NCHW[self.draw(guesses)].flatten(1), images_ND).mean()),
        )

    def unmixed(self, seen: Seen) -> Iterator[Tensor]:
        samples = min(HIDDEN - 8, len(seen.indices_N) * seen.clients)
        numbers = sorted({number for number in (8, 16, 32, 64) if number < samples} | {samples})
        for number in numbers:
            yield unmixed_images(seen.descents[FIRST], SHAPE, number)
            if FIRST in seen.masks and number <= MOST_COMPLETED:
                whole = completed(seen.descents[FIRST], seen.masks[FIRST], number)
                yield unmixed_images(whole, SHAPE, number)


def flat(descents: Mapping[str, Tensor], masks: Masks) -> NDArray[np.float32]:
    """What lies on the mask, and all that is dense."""
    return np.concatenate(
        [(one[masks[name]] if name in masks else one).flatten().numpy() for name, one in descents.items()]
    )


def unflat(vector_P: NDArray[np.float32], like: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    descents, start = {}, 0
    for name, one in like.items():
        where = masks.get(name, torch.ones_like(one, dtype=torch.bool))
        end = start + int(where.sum())
        descents[name] = torch.zeros_like(one)
        descents[name][where] = torch.from_numpy(vector_P[start:end])
        start = end
    return descents


def secure_sum(
    vectors: Sequence[NDArray[np.float32]], privacy: Privacy, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By the protocol: the mean of all, and the masked vector of the first, taken for numbers."""
    fixed = FixedPoint(largest=privacy.largest_entry, clients=len(vectors))
    secrets = [Secrets.drawn(client, generator.bytes) for client in range(len(vectors))]
    cohort = Cohort(
        session=b"round 1", minimum=MINIMUM_COHORT, advertisements=tuple(one.advertisement() for one in secrets)
    )
    shares = {one.client: shared(one, cohort, generator.bytes) for one in secrets}
    sent = {
        one.client: masked(one, cohort, shares, fixed.encoded(vectors[one.client], 1, generator.bytes))
        for one in secrets
    }
    answers = [
        revealed(one, cohort, {sender: content[one.client] for sender, content in shares.items()}, sent)
        for one in secrets
    ]
    mean_P, _ = fixed.decoded_mean(unmasked(cohort, shares, sent, answers))
    return mean_P, as_numbers(sent[0][:-1], privacy.largest_entry)
