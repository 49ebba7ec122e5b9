"""Attacks on federated clients: labels and images from what the server gets, without defences, with each, with --secure.

    python benchmarks/federated_attacks.py [--quick] [--seeds N] [--data FOLDER] [-o RESULT.json]

The network is small and fully connected, as the attack on images needs its first layer so, and has just been initialised, when
gradients tell most. Clients hold traffic signs of few labels (Dirichlet(0.5)). The attacker is the server: it has the network, the
mask, the number of samples, and the images of other people. Beside each figure stands what it would guess without the
client's update: labels as frequent as among all clients that could be drawn, and images of others, as many as it found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from statistics import fmean

import numpy as np
import torch
from attacked_clients import (
    BATCH,
    CLIENTS,
    DENSITY,
    EPOCHS,
    MINIMUM_COHORT,
    ROUNDS,
    SAMPLES,
    Leak,
    Scene,
    Seen,
    flat,
    secure_sum,
    unflat,
)
from gradient_attacks import disaggregated
from harness import IMAGES, Table, absent, bars, options_of, publish
from numpy.typing import NDArray
from signs43_resnet import LABELS, SHAPE
from torch import Tensor

from edgekit.assembler.training.data import read_parquet
from edgekit.federated.privacy import Privacy, protected
from edgekit.pruning.masks import Masks

GRADIENT_BATCHES = 4
GROUPS = (5, 4, 3)
"""Of fewer clients than all, in a sum each."""
CUTS = (3, 2, 1)
"""Groups into which the clients are cut in each of the rounds."""
LOST = 0.1
"""Of the clients in each of them."""
CLIP = Privacy(clip=1.0, noise_multiplier=0.0)
NOISE = Privacy(clip=1.0, noise_multiplier=1.0)
BAR_LABELS, BAR_IMAGES = 0.95, 0.9
BAR_MORE_LABELS = 0.1
BAR_GROUP = 5
"""Clients, in sums of which, and of more, labels are to be within that of the guess."""


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
        f"epochs, mask, clipped, secure sum of {CLIENTS} (--secure --groups 1)",
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


def views_of_a_course(scene: Scene) -> Iterator[tuple[str, Seen]]:
    """Of the first client, from secure sums in many rounds."""
    rounds = [
        [protected(flat(change, scene.masks), CLIP, scene.generator.bytes) for change in changes]
        for changes in scene.course(scene.masks)
    ]
    like = scene.change(scene.clients[0], scene.masks)

    def seen(change_P: NDArray[np.float32]) -> Seen:
        descents = unflat(change_P, like, scene.masks)
        return Seen(descents=descents, indices_N=scene.clients[0], masks=scene.masks, is_gradient=False)

    yield f"{ROUNDS} rounds, no secure sum", seen(np.mean([vectors[0] for vectors in rounds], 0))
    for number in CUTS:
        staying = np.array_split(scene.generator.permutation(CLIENTS), number)
        sizes = " or ".join(map(str, sorted({len(group) for group in staying})))
        for how, (stay, lost) in {
            "drawn anew": (False, 0.0),
            "always the same": (True, 0.0),
            f"always the same, {LOST:.0%} lost": (True, LOST),
        }.items():
            if number == 1 and not stay:
                continue
            groups, means = [], []
            for vectors in rounds:
                there = scene.generator.random(CLIENTS) >= lost
                cut = staying if stay else np.array_split(scene.generator.permutation(CLIENTS), number)
                for group in (members[there[members]].tolist() for members in cut):
                    if len(group) >= MINIMUM_COHORT:
                        groups.append(group)
                        means.append(secure_sum([vectors[one] for one in group], CLIP, scene.generator)[0])
            yield f"{ROUNDS} rounds of sums of {sizes}, {how}", seen(disaggregated(groups, means, CLIENTS)[0])


def smallest_hidden(leak_by_clients: Mapping[int, Leak]) -> float:
    """Of how many clients a sum must be, by which and by all larger ones labels are hardly better known than guessed."""
    smallest = float("inf")
    for number in sorted(leak_by_clients, reverse=True):
        if leak_by_clients[number].labels - leak_by_clients[number].labels_guessed > BAR_MORE_LABELS:
            break
        smallest = number
    return smallest


def _is_sum_of(name: str, number: int) -> bool:
    return name.removesuffix(" (--secure --groups 1)") == f"epochs, mask, clipped, secure sum of {number}"


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
        for name, seen in chain(views(scene), views_of_a_course(scene)):
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
    off, on = (
        next(one for name, one in means.items() if tag in name) for tag in ("(all off)", "(--secure --groups 1)")
    )
    more = on.labels - on.labels_guessed
    hidden = smallest_hidden(
        {number: one for number in (CLIENTS, *GROUPS) for name, one in means.items() if _is_sum_of(name, number)}
    )
    many = means[f"{ROUNDS} rounds of sums of {CLIENTS // 2}, drawn anew"]
    over_rounds = many.labels - many.labels_guessed
    judged = bars(
        ("labels, all off", f"{off.labels:.0%}", f"at least {BAR_LABELS:.0%}", off.labels >= BAR_LABELS),
        ("images, all off", f"{off.images:.2f}", f"at least {BAR_IMAGES:g}", off.images >= BAR_IMAGES),
        (
            "labels, --secure --groups 1",
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
            f"labels, {ROUNDS} rounds of sums of {CLIENTS // 2}",
            f"{100 * over_rounds:+.0f} points to the guess",
            f"at most +{100 * BAR_MORE_LABELS:.0f}",
            over_rounds <= BAR_MORE_LABELS,
        ),
        (
            "images, --secure --groups 1",
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
