"""A supernet small enough to train within a second, for tests that need neither the shipped one nor data.

Its six labels are stripes: red, green or blue, in rows or in columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from edgekit.assembler.generator import Generator
from edgekit.assembler.predictor import AccuracyPredictor
from edgekit.core.records import sha256_of, write_bytes, write_json
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import BlockKind, BlockSpec, SupernetSpec
from edgekit.supernet.storage import CALIBRATION, CARD, CARD_SCHEMA, VOCABULARY, WEIGHTS
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.vocabulary import Label, Vocabulary

SIZE = 16
COLOURS = ("red", "green", "blue")
PATTERNS = ("rows", "columns")
LABELS = tuple(f"{colour} {pattern}" for colour in COLOURS for pattern in PATTERNS)
STEPS, BATCH = 160, 48


def block(kind: BlockKind, channels: tuple[int, int], *, stride: int) -> BlockSpec:
    return BlockSpec(
        kind=kind,
        in_channels=channels[0],
        out_channels=channels[1],
        hidden_channels=32,
        kernel=3,
        stride=stride,
        bricks=4,
    )


SPEC = SupernetSpec(
    image_sizes=(SIZE,),
    stem_channels=16,
    blocks=(
        block(BlockKind.FUSED, (16, 16), stride=1),
        block(BlockKind.INVERTED, (16, 16), stride=2),
        block(BlockKind.INVERTED, (16, 16), stride=1),
    ),
    labels=len(LABELS),
)


def draw(label: int, rng: np.random.Generator, *, size: int = SIZE) -> NDArray[np.uint8]:
    """`x_HWC` stripes of two pixels on grey, anywhere, in any light."""
    colour, pattern = divmod(label, len(PATTERNS))
    x_HWC = np.full((size, size, 3), rng.integers(20, 80), np.uint8)
    width = size // 8
    striped = (np.arange(size) + rng.integers(size)) // width % 2 == 0
    ink = np.zeros(3, np.uint8)
    ink[colour] = rng.integers(160, 256)
    x_HWC[striped if pattern == 0 else (slice(None), striped)] = ink
    return x_HWC


def draw_all(count: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(`x_NHWC`, `y_N`), the labels in turn."""
    y_N = np.arange(count) % len(LABELS)
    return np.stack([draw(int(label), rng) for label in y_N]), y_N


def train(rng: np.random.Generator) -> Supernet:
    """The full network and a random prefix a step, normalisation fixed."""
    torch.manual_seed(0)
    supernet = Supernet(SPEC).eval()
    optimizer = torch.optim.Adam(supernet.parameters(), lr=5e-3)
    for _ in range(STEPS):
        x_NHWC, y_N = draw_all(BATCH, rng)
        x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).float() / 255
        counts = [int(rng.integers(block.fewest_bricks, block.bricks + 1)) for block in SPEC.blocks]
        for genotype in (SPEC.full, Genotype.prefix(counts), SPEC.smallest):
            nn.functional.cross_entropy(supernet(x_NCHW, genotype), torch.from_numpy(y_N)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return supernet


def write_supernet(folder: Path) -> None:
    """A whole supernet's folder; its generator has learnt nothing, and its accuracy predictor that bricks help."""
    rng = np.random.default_rng(0)
    with torch.random.fork_rng():
        supernet = train(rng)
        generator = Generator(SPEC)
        predictor = AccuracyPredictor(SPEC).requires_grad_(False)
    for parameter in predictor.traits.parameters():
        parameter.abs_()
    predictor.common.abs_().neg_()
    parts = {"supernet": supernet, "generator": generator, "predictor": predictor}
    tensors = {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(tensors))
    write_bytes(folder / CALIBRATION, save({"x_NHWC": torch.from_numpy(draw_all(48, rng)[0])}))
    labels = tuple(
        Label(name=name, index=index, attributes=dict(zip(("colour", "pattern"), name.split(), strict=True)))
        for index, name in enumerate(LABELS)
    )
    Vocabulary(labels).save(folder / VOCABULARY)
    write_json(
        folder / CARD,
        {
            "schema_version": CARD_SCHEMA,
            "name": "stripes",
            "data": "Stripes, drawn by the tests",
            "licence": "That of the project",
            "supernet": SPEC.to_json(),
            "parameters": sum(parameter.numel() for parameter in supernet.parameters()),
            "sha256": {file: sha256_of(folder / file) for file in (WEIGHTS, CALIBRATION)},
            "kept_out_compositions": [],
            "predictor": {"mean_absolute_error": 0.05, "p90_absolute_error": 0.1, "spearman": 0.0},
        },
    )
