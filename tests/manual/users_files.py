"""The files that the pages of the manual speak of as the reader's own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_network import export_networks

EXAMPLES = Path(__file__).parents[2] / "examples"
CLASSES = ("stop", "yield", "keep_left")


def write_users_files(folder: Path) -> None:
    """Pictures of three signs in folders of their classes, single pictures, a recipe, and a network for them."""
    rng = np.random.default_rng(0)
    for name, count in (("my_signs", 8), ("pictures", 40)):
        for class_ in CLASSES:
            _write_changed(EXAMPLES / f"{class_}.png", folder / name / class_, count, rng)
    for class_ in CLASSES:
        for split, count in (("train", 24), ("test", 6)):
            _write_changed(EXAMPLES / f"{class_}.png", folder / "traffic" / split / class_, count, rng)
    for name in ("photo.png", "picture.png"):
        shutil.copy(EXAMPLES / "stop.png", folder / name)
    shutil.copytree(EXAMPLES, folder / "examples")
    _write_recipe(folder / "my_recipe.toml")
    export_networks(folder)


def _write_recipe(path: Path) -> None:
    """That of signs43, for a training of seconds."""
    text = (EXAMPLES.parent / "models/signs43/recipe.toml").read_text(encoding="utf-8")
    for key, value in {"steps": "60", "warmup_steps": "30", "batch": "12"}.items():
        text = re.sub(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")


def _write_changed(picture: Path, folder: Path, count: int, rng: np.random.Generator) -> None:
    """As if photographed again: shifted, in another light, with noise."""
    folder.mkdir(parents=True)
    with Image.open(picture) as opened:
        sign_HWC = np.asarray(opened, np.float32)
    for index in range(count):
        shifted_HWC = np.roll(sign_HWC, rng.integers(-6, 7, 2), (0, 1)) * rng.uniform(0.6, 1.2)
        noisy_HWC = shifted_HWC + rng.normal(0, 6, sign_HWC.shape)
        Image.fromarray(noisy_HWC.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
