"""Where data lies: what ships with edgekit, supernets and devices, and what belongs to the user."""

from __future__ import annotations

from pathlib import Path

import platformdirs

import edgekit


def data_folder(name: str) -> Path:
    """`models` or `devices`: inside an installed package, else beside the package in a checkout."""
    package = Path(edgekit.__file__).parent
    packaged = package / "_data" / name
    return packaged if packaged.is_dir() else package.parent / name


def user_folder(name: str) -> Path:
    """The same of the user's own; it need not exist."""
    return platformdirs.user_config_path("edgekit") / name
