"""Attacks on federated clients: labels and images from what the server gets, without defences, with each, with --secure.

    python benchmarks/federated_attacks.py [--quick] [--seeds N] [--data FOLDER] [-o RESULT.json]

The network is small and fully connected, as the attack on images needs its first layer so, and has just been initialised, when
gradients tell most. Clients hold traffic signs of few labels (Dirichlet(0.5)). The attacker is the server: it has the network, the
mask, the number of samples, and the images of other people. Beside each figure stands what it would guess without the
client's update: labels as frequent as among all clients that could be drawn, and images of others, as many as it found.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean

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
from harness import IMAGES, Table, absent, bars, options_of, publish
from numpy.typing import NDArray
from signs43_resnet import LABELS, SHAPE
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.training.data import read_parquet
from edgekit.federated.fixed_point import FixedPoint
from edgekit.federated.privacy import Privacy, protected
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
GRADIENT_BATCHES = 4
MOST_COMPLETED = 16
"""Images, beyond which what lies on the mask cannot say what lies off it."""
MINIMUM_COHORT = 3
GROUPS = (5, 4, 3)
"""Of fewer clients than all, in a sum each."""
CLIP = Privacy(clip=1.0, noise_multiplier=0.0)
NOISE = Privacy(clip=1.0, noise_multiplier=1.0)
BAR_LABELS, BAR_IMAGES = 0.95, 0.9
BAR_MORE_LABELS = 0.1
BAR_GROUP = 5
"""Clients, in sums of which, and of more, labels are to be within that of the guess."""
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

    def change(self, indices_N: Tensor, masks: Masks) -> dict[str, Tensor]:
        """After whole local epochs."""
        module = copy.deepcopy(self.network)
        apply_masks(module, masks)
        before = {name: one.detach().clone() for name, one in module.named_parameters()}

        def steps() -> Iterator[tuple[float, Callable[[nn.Module], Tensor]]]:
            for _ in range(EPOCHS):
                order_N = torch.from_numpy(self.generator.permutation(len(indices_N)))
                for indices_B in indices_N[order_N].split(BATCH):
                    yield LEARNING_RATE, lambda module, indices_B=indices_B: self.loss(module, indices_B)

        train_masked(module, masks, {}, steps())
        return {name: one.detach() - before[name] for name, one in module.named_parameters()}

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


def views(scene: Scene) -> Iterator[tuple[str, Seen]]:
    """What the server sees of the first client, by what is switched on."""
    source = scene.generator.bytes
    none: Masks = {}
    first = scene.clients[0]
    batches = [indices_N[:BATCH] for indices_N in scene.clients]

    def one(descents: Mapping[str, Tensor], indices_N: Tensor, masks: Masks, *, is_gradient: bool) -> Seen:
        return Seen(descents=descents, indices_N=indices_N, masks=masks, is_gradient=is_gradient)

    def left(descents: Mapping[str, Tensor], masks: Masks, privacy: Privacy) -> dict[str, Tensor]:
        return unflat(protected(flat(descents, masks), privacy, source), descents, masks)

    def together(
        parts: Sequence[Mapping[str, Tensor]], masks: Masks, privacy: Privacy
    ) -> tuple[dict[str, Tensor], ...]:
        vectors = [protected(flat(part, masks), privacy, source) for part in parts]
        return tuple(unflat(one, parts[0], masks) for one in secure_sum(vectors, privacy, scene.generator))

    gradient = scene.gradient(batches[0], none)
    yield "gradient of one mini-batch (all off)", one(gradient, batches[0], none, is_gradient=True)
    yield "  clipped", one(left(gradient, none, CLIP), batches[0], none, is_gradient=False)
    yield "  clipped and noised", one(left(gradient, none, NOISE), batches[0], none, is_gradient=False)
    yield "  under the mask", one(scene.gradient(batches[0], scene.masks), batches[0], scene.masks, is_gradient=True)
    few = batches[0][:1]
    yield (
        "  under the mask, 1 image",
        one(scene.gradient(few, scene.masks), few, scene.masks, is_gradient=True),
    )
    mean, hidden = together([scene.gradient(batch, none) for batch in batches], none, CLIP)
    yield "  masked for the secure sum", one(hidden, batches[0], none, is_gradient=False)
    yield (
        f"  secure sum of {CLIENTS}",
        Seen(descents=mean, indices_N=batches[0], masks=none, is_gradient=False, clients=CLIENTS),
    )
    few = first[: BATCH * GRADIENT_BATCHES]
    yield "largest gradients of an adjustment", one(scene.largest(few), few, none, is_gradient=False)
    yield "change after epochs", one(scene.change(first, none), first, none, is_gradient=False)
    few = first[:BATCH]
    yield f"change after epochs, {len(few)} images", one(scene.change(few, none), few, none, is_gradient=False)
    mean, _ = together([scene.change(indices_N, none) for indices_N in scene.clients], none, CLIP)
    yield (
        f"change after epochs, secure sum of {CLIENTS}",
        Seen(descents=mean, indices_N=first, masks=none, is_gradient=False, clients=CLIENTS),
    )
    changes = [scene.change(indices_N, scene.masks) for indices_N in scene.clients]
    yield (
        "epochs, mask, clipped (no secure sum)",
        one(left(changes[0], scene.masks, CLIP), first, scene.masks, is_gradient=False),
    )
    mean, _ = together(changes, scene.masks, CLIP)
    yield (
        f"epochs, mask, clipped, secure sum of {CLIENTS} (with --secure)",
        Seen(descents=mean, indices_N=first, masks=scene.masks, is_gradient=False, clients=CLIENTS),
    )
    for number in GROUPS:
        mean, _ = together(changes[:number], scene.masks, CLIP)
        yield (
            f"epochs, mask, clipped, secure sum of {number}",
            Seen(descents=mean, indices_N=first, masks=scene.masks, is_gradient=False, clients=number),
        )
    noise = Privacy(clip=NOISE.clip, noise_multiplier=NOISE.noise_multiplier, shares=CLIENTS)
    mean, _ = together(changes, scene.masks, noise)
    yield (
        f"epochs, mask, clipped, secure sum of {CLIENTS}, noised",
        Seen(descents=mean, indices_N=first, masks=scene.masks, is_gradient=False, clients=CLIENTS),
    )


def smallest_hidden(leak_by_clients: Mapping[int, Leak]) -> float:
    """Of how many clients a sum must be, by which and by all larger ones labels are hardly better known than guessed."""
    smallest = float("inf")
    for number in sorted(leak_by_clients, reverse=True):
        if leak_by_clients[number].labels - leak_by_clients[number].labels_guessed > BAR_MORE_LABELS:
            break
        smallest = number
    return smallest


def _is_sum_of(name: str, number: int) -> bool:
    return name.removesuffix(" (with --secure)") == f"epochs, mask, clipped, secure sum of {number}"


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="networks and cohorts drawn; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one seed, and no record")
    options: argparse.Namespace = parser.parse_args()
    folder = options.data or IMAGES / "signs43"
    if not any(folder.glob("*.parquet")):
        absent(f"no Parquet files in {folder}: name the folder of images with --data")
    dataset = read_parquet(folder, "test", image_size=SHAPE[1], labels=LABELS)
    x_NCHW, y_N = torch.from_numpy(dataset.x_NCHW).float() / 255, torch.from_numpy(dataset.y_N).long()
    leaks: dict[str, list[Leak]] = {}
    for seed in range(options.seed, options.seed + (1 if options.quick else options.seeds)):
        scene = Scene(x_NCHW, y_N, seed)
        for name, seen in views(scene):
            leaks.setdefault(name, []).append(scene.leak(seen))
            print(f"seed {seed}: {name.strip()}: {leaks[name][-1]}", file=sys.stderr)
    means = {
        name: Leak(
            **{key: fmean(asdict(one)[key] for one in some) for key in asdict(some[0])}  # type: ignore[arg-type]
        )
        for name, some in leaks.items()
    }
    table = Table(
        f"What the server finds of one client's labels and images: batch {BATCH}, {SAMPLES} images a client, {EPOCHS} epochs, "
        f"density {DENSITY:g}, clip {NOISE.clip:g}, noise multiplier {NOISE.noise_multiplier:g}",
        ("it has", "labels", "guessed", "images", "guessed"),
        [
            (name, f"{one.labels:.0%}", f"{one.labels_guessed:.0%}", f"{one.images:.2f}", f"{one.images_guessed:.2f}")
            for name, one in means.items()
        ],
    )
    off, on = (next(one for name, one in means.items() if tag in name) for tag in ("(all off)", "(with --secure)"))
    more = on.labels - on.labels_guessed
    hidden = smallest_hidden(
        {number: one for number in (CLIENTS, *GROUPS) for name, one in means.items() if _is_sum_of(name, number)}
    )
    judged = bars(
        ("labels, all off", f"{off.labels:.0%}", f"at least {BAR_LABELS:.0%}", off.labels >= BAR_LABELS),
        ("images, all off", f"{off.images:.2f}", f"at least {BAR_IMAGES:g}", off.images >= BAR_IMAGES),
        (
            "labels, with --secure",
            f"{100 * more:+.0f} points to the guess",
            f"at most +{100 * BAR_MORE_LABELS:.0f}",
            more <= BAR_MORE_LABELS,
        ),
        (
            f"smallest sum with labels within +{100 * BAR_MORE_LABELS:.0f} of the guess",
            f"{hidden} clients",
            f"at most {BAR_GROUP}",
            hidden <= BAR_GROUP,
        ),
        (
            "images, with --secure",
            f"{on.images:.2f}",
            f"at most the guess, {on.images_guessed:.2f}",
            on.images <= on.images_guessed,
        ),
    )
    figures = {
        "seeds": next(len(some) for some in leaks.values()),
        "leaks": {name: asdict(one) for name, one in means.items()},
    }
    publish("federated_attacks", [table, judged], figures, options.output, write=not options.quick)


if __name__ == "__main__":
    main()
