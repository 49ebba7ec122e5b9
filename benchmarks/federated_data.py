"""Data sets dealt to clients, and the network that all methods begin with, for the federated benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from harness import IMAGES, absent
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from signs43_resnet import LABELS, SHAPE, Block
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.training.data import Dataset, read_parquet, split_by_group
from edgekit.core.records import write_bytes
from edgekit.federated.client import LocalSamples
from edgekit.federated.datasets import samples_of
from edgekit.federated.partition import by_dirichlet, by_unit
from edgekit.pruning.masked_training import rise_and_fall, train_masked
from edgekit.pruning.masks import prunable

OMNIGLOT = IMAGES.parent / "federated" / "omniglot_small.npz"
PUBLIC = 0.1
"""Share of the tracks that the server has, to begin with a network that knows something."""
HELD_OUT = 0.2
"""Share of the other tracks that clients do not get, where something is tuned on them."""
DENSE_STEPS, BATCH, LEARNING_RATE = 400, 64, 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Dealt:
    """What the server has, what each client has, and what all are judged on."""

    name: str
    labels: int
    public: LocalSamples
    clients: tuple[LocalSamples, ...]
    test: LocalSamples


class ResNet(nn.Module):
    """`x_NCHW` (N, 3, 32, 32) -> logits: most weights where there are few positions, as in networks for larger pictures."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(*(Block(width << depth, width << depth + 1, 2) for depth in range(3)))
        self.linear = nn.Linear(8 * width, labels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.blocks(F.relu(self.bn(self.conv(x_NCHW))))
        z_NK: Tensor = self.linear(y_NCHW.mean((2, 3)))
        return z_NK


def signs43(kind: str, clients: int, *, images: int, test: int, seed: int, tuned: bool = False) -> Dealt:
    """So many training and test pictures at random, of all tracks; `kind` "track" (whole ones) or "dirichlet". Where something is
    `tuned`, tracks that no client has stand for the test."""
    folder = IMAGES / "signs43"
    if not folder.is_dir():
        absent(f"no pictures in {folder}")
    dataset = read_parquet(folder, "train", image_size=SHAPE[1], labels=LABELS)
    rest, public = split_by_group(dataset, held_out=PUBLIC, seed=0)
    whole = None if tuned else read_parquet(folder, "test", image_size=SHAPE[1], labels=LABELS)
    if whole is None:
        rest, whole = split_by_group(rest, held_out=HELD_OUT, seed=1)
    rng = np.random.default_rng(seed)
    rest = _taken(rest, rng.permutation(len(rest))[:images])
    unit_N = np.unique(np.stack([rest.y_N, rest.group_N]), axis=1, return_inverse=True)[1].reshape(-1)
    parts = by_unit(unit_N, clients, rng) if kind == "track" else by_dirichlet(rest.y_N, clients, 0.5, rng)
    chosen = np.random.default_rng(0).permutation(len(whole))[:test]
    return Dealt(
        name=f"signs43 {kind} {clients}",
        labels=LABELS,
        public=samples_of(public),
        clients=_each(rest, parts),
        test=samples_of(_taken(whole, chosen)),
    )


def omniglot(*, alphabets: bool) -> Dealt:
    """242 characters; a client has what one drawer drew of one alphabet, without `alphabets` what all drawers of a number drew.
    Two numbers are the server's, four are judged on."""
    if not OMNIGLOT.is_file():
        absent(f"no file {OMNIGLOT}")
    with np.load(OMNIGLOT, allow_pickle=False) as file:
        height, width = file["shape"]
        bits = np.unpackbits(file["bits"], axis=1, count=height * width).reshape(-1, 1, height, width)
        character, alphabet, drawer = (file[name].astype(np.int64) for name in ("character", "alphabet", "drawer"))
    ink = F.adaptive_avg_pool2d(torch.from_numpy(bits).float(), SHAPE[1:]).mul(255).byte().numpy()
    dataset = Dataset(x_NCHW=np.repeat(ink, 3, 1), y_N=character, group_N=alphabet * 100 + drawer)
    order = np.random.default_rng(0).permutation(np.unique(drawer))
    is_public, is_test = np.isin(drawer, order[:2]), np.isin(drawer, order[2:6])
    rest = dataset.take(~(is_public | is_test))
    owner_N = rest.group_N if alphabets else rest.group_N % 100
    parts = [np.flatnonzero(owner_N == owner) for owner in np.unique(owner_N)]
    return Dealt(
        name=f"omniglot drawer {len(parts)}",
        labels=int(character.max()) + 1,
        public=samples_of(dataset.take(is_public)),
        clients=_each(rest, parts),
        test=samples_of(dataset.take(is_test)),
    )


def pretrained(dealt: Dealt, width: int, cache: Path) -> fx.GraphModule:
    """A ResNet that the server trained on what it has."""
    torch.manual_seed(0)
    module = fx.symbolic_trace(ResNet(width, dealt.labels))
    path = cache / f"dense {dealt.name.split()[0]} {width}.safetensors"
    if path.is_file():
        module.load_state_dict(load_file(path))
        return module
    generator = torch.Generator().manual_seed(0)

    def steps():
        for step in range(DENSE_STEPS):
            some = torch.randint(len(dealt.public), (BATCH,), generator=generator)
            x_N, y_N = dealt.public.inputs(some, None), dealt.public.y_N[some]
            share = step / DENSE_STEPS
            yield (
                LEARNING_RATE * rise_and_fall(share, share),
                lambda module, x_N=x_N, y_N=y_N: F.cross_entropy(module(x_N), y_N),
            )

    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(module).items()}
    train_masked(module, masks, {}, steps())
    write_bytes(path, save({name: one.contiguous() for name, one in module.state_dict().items()}))
    return module


def _each(dataset: Dataset, parts: list[NDArray[np.int64]]) -> tuple[LocalSamples, ...]:
    return tuple(samples_of(_taken(dataset, part)) for part in parts)


def _taken(dataset: Dataset, indices: NDArray[np.int64]) -> Dataset:
    chosen = np.zeros(len(dataset), bool)
    chosen[indices] = True
    return dataset.take(chosen)
