"""The files that the pages of the manual speak of as the reader's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_network import export_networks

EXAMPLES = Path(__file__).parents[2] / "examples"
CLASSES = ("stop", "yield", "keep_left")


def write_users_files(folder: Path) -> None:
    """Pictures of three signs in folders of their classes, single pictures, and a network of eight layers for them."""
    rng = np.random.default_rng(0)
    for name, count in (("my_signs", 8), ("pictures", 40)):
        for class_ in CLASSES:
            _write_changed(EXAMPLES / f"{class_}.png", folder / name / class_, count, rng)
    for class_ in CLASSES:
        for split, count in (("train", 24), ("test", 6)):
            _write_changed(EXAMPLES / f"{class_}.png", folder / "signs" / split / class_, count, rng)
    for name in ("photo.png", "picture.png"):
        shutil.copy(EXAMPLES / "stop.png", folder / name)
    export_networks(folder)


def _write_changed(picture: Path, folder: Path, count: int, rng: np.random.Generator) -> None:
    """As if photographed again: shifted, in another light, with noise."""
    folder.mkdir(parents=True)
    with Image.open(picture) as opened:
        sign_HWC = np.asarray(opened, np.float32)
    for index in range(count):
        shifted_HWC = np.roll(sign_HWC, rng.integers(-6, 7, 2), (0, 1)) * rng.uniform(0.6, 1.2)
        noisy_HWC = shifted_HWC + rng.normal(0, 6, sign_HWC.shape)
        Image.fromarray(noisy_HWC.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
