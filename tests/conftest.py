"""What tests of several rooms share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

REPO_ROOT = Path(__file__).parents[1]
pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def tiny_supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small supernet that tells stripes apart; see tiny_supernet.py. Read it, do not change it."""
    from tiny_supernet import write_supernet

    folder = tmp_path_factory.mktemp("models") / "stripes"
    write_supernet(folder)
    return folder


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A picture of each label of the small supernet, larger than its input."""
    from PIL import Image
    from tiny_supernet import LABELS, draw

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(7)
    pictures = {name: folder / f"{name.replace(' ', '_')}.png" for name in LABELS}
    for label, path in enumerate(pictures.values()):
        Image.fromarray(draw(label, rng, size=64)).save(path)
    return pictures


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The project's data sets, where they lie beside the checkout."""
    folder = REPO_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist: data sets are not part of the repository")
    return folder
