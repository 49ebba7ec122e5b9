"""Everything for a training of seconds: drawn shapes as Parquet, a vocabulary, a recipe, and fewer steps everywhere.

Run as a script, it trains and notes every step: `shapes_training.py RECIPE DATA OUTPUT`; so that torchrun can start it.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.tasks.vocabulary import Label, Vocabulary

SIZE = 16
SHAPES = ("square", "frame", "cross")
COLOURS = ("red", "blue")
LABELS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
IMAGES_A_TRACK = 4

RECIPE = """
name = "shapes"
data = "Shapes, drawn by the tests"
licence = "That of the project"
seed = {seed}
steps = {steps}
warmup_steps = {warmup_steps}
batch = 24
accumulate = {accumulate}
bfloat16 = {bfloat16}
optimizer = "{optimizer}"
held_out = 0.25
warmup_learning_rate = 1e-2
learning_rate = 3e-3
weight_decay = 0.02
label_smoothing = 0.1
all_labels = 0.3
smallest_limit = 0.1
largest_limit = 0.7
size_shares = [0.4, 0.6]

[augmentation]
scale = [0.9, 1.1]
tilt = 5
light = 0.2
contrast = 0.1
blur = 0.1
noise = 0.05
mix = 0.2

[supernet]
image_sizes = [8, 16]
stem_channels = {stem_channels}
blocks = [
    {{ kind = "fused", in_channels = {stem_channels}, out_channels = 8, hidden_channels = 16, kernel = 3, stride = 2, bricks = 4 }},
    {{ kind = "{kind}", in_channels = 8, out_channels = 8, hidden_channels = 16, kernel = 3, stride = 1, bricks = 2 }},
    {{ kind = "{kind}", in_channels = 8, out_channels = 12, hidden_channels = 24, kernel = 5, stride = 1, bricks = 4 }},
]
"""

FEWER: dict[str, int] = {
    "illumination.GENERATIONS": 4,
    "measurements.GENOTYPES": 24,
    "measurements.TASKS": 12,
    "calibration.BATCH": 12,
    "calibration.STEPS": 4,
    "fitting.PREDICTOR_STEPS": 40,
    "finishing.LESSONS": 6,
    "finishing.SEARCHED": 4,
    "teaching.LESSON_STEPS": 10,
    "trainer.CHECKPOINT_EVERY": 5,
    "trainer.REPORT_EVERY": 1,
}


def module_and_name(constant: str) -> tuple[object, str]:
    module, name = constant.split(".")
    return import_module(f"edgekit.assembler.training.{module}"), name


def draw(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`x_HWC`: the shape of its colour somewhere on grey."""
    colour, shape = divmod(label, len(SHAPES))
    x_HWC = np.full((SIZE, SIZE, 3), rng.integers(60, 120), np.uint8)
    ink = np.array((220, 30, 30) if colour == 0 else (30, 30, 220), np.uint8)
    top, left = rng.integers(1, 6, 2)
    size = 9
    area = x_HWC[top : top + size, left : left + size]
    if SHAPES[shape] == "cross":
        area[size // 2 - 1 : size // 2 + 2] = ink
        area[:, size // 2 - 1 : size // 2 + 2] = ink
    else:
        grey = area[3:-3, 3:-3].copy()
        area[:] = ink
        if SHAPES[shape] == "frame":
            area[3:-3, 3:-3] = grey
    noise = rng.normal(0, 8, x_HWC.shape)
    return (x_HWC + noise).clip(0, 255).astype(np.uint8)


def png(x_HWC: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(x_HWC).save(file, "PNG")
    return file.getvalue()


def write_split(path: Path, *, tracks: int, seed: int, labels: tuple[int, ...] = tuple(range(len(LABELS)))) -> None:
    """`tracks` tracks of each label, in the convention of `datasets`, with a track column that restarts at each label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    drawn = [(label, track) for label in labels for track in range(tracks) for _ in range(IMAGES_A_TRACK)]
    table = pa.table(
        {
            "image": [{"bytes": png(draw(label, rng)), "path": None} for label, _ in drawn],
            "label": [label for label, _ in drawn],
            "track": [track for _, track in drawn],
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def write_recipe(
    folder: Path,
    *,
    steps: int = 12,
    warmup_steps: int = 5,
    seed: int = 1,
    stem_channels: int = 8,
    accumulate: int = 1,
    bfloat16: bool = False,
    optimizer: str = "adamw",
    kind: str = "inverted",
) -> Path:
    """A recipe.toml with its vocabulary beside it; `kind` is that of all blocks but the first."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = tuple(
        Label(name=name, index=index, attributes=dict(zip(("colour", "shape"), name.split(), strict=True)))
        for index, name in enumerate(LABELS)
    )
    Vocabulary(labels).save(folder / "vocabulary.json")
    path = folder / "recipe.toml"
    numbers = {"steps": steps, "warmup_steps": warmup_steps, "seed": seed, "accumulate": accumulate}
    texts = {"bfloat16": str(bfloat16).lower(), "optimizer": optimizer, "kind": kind}
    path.write_text(RECIPE.format(**numbers, **texts, stem_channels=stem_channels))
    return path


def main(recipe: str, data: str, output: str) -> None:
    from edgekit.assembler.training.run import train_supernet

    for constant, value in (FEWER | {"trainer.CHECKPOINT_EVERY": 1}).items():
        setattr(*module_and_name(constant), value)
    train_supernet(Path(recipe), Path(data), Path(output), resume=False, overwrite=False, report=lambda *_: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
