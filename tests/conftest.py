"""What tests of several rooms share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import MissingExtraError
from edgekit.lab.machine import check_machine

REPO_ROOT = Path(__file__).parents[1]
pytest_plugins = ["pytester", "browser"]


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    """A command that ends in this process ignores signals from then on, and so would every process started after it."""
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    yield
    for one, handler in handlers.items():
        signal.signal(one, handler)


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


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("hil") and (reason := no_lab_because()):
        pytest.skip(reason)


@cache
def no_lab_because() -> str:
    """Why this machine cannot be a lab; nothing where it can."""
    try:
        check_machine()
    except MissingExtraError as error:
        return f"{error.message} ({error.hint})"
    return ""


@pytest.fixture(scope="session")
def lab_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user whose lab is up, which is not the lab of whoever runs the tests."""
    home = tmp_path_factory.mktemp("lab")
    environment = os.environ | {"XDG_CONFIG_HOME": f"{home}/config", "XDG_STATE_HOME": f"{home}/state"}
    command = [sys.executable, "-m", "edgekit.cli.main", "lab"]
    subprocess.run([*command, "up", "--device", "rpi4"], env=environment, timeout=300, check=True)
    yield environment
    subprocess.run([*command, "down"], env=environment, timeout=60, check=True)


@pytest.fixture(scope="session")
def boards(lab_environment: dict[str, str]) -> dict[str, Any]:
    """The entries of the lab's boards, by name."""
    path = Path(lab_environment["XDG_CONFIG_HOME"], "edgekit/boards.d/lab.toml")
    return dict(tomllib.loads(path.read_text())["boards"])
