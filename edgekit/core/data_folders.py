"""Where the public data that ships with edgekit lies: supernets and devices."""

from __future__ import annotations

from pathlib import Path

import edgekit


def data_folder(name: str) -> Path:
    """`models` or `devices`: inside an installed package, else beside the package in a checkout."""
    package = Path(edgekit.__file__).parent
    packaged = package / "_data" / name
    return packaged if packaged.is_dir() else package.parent / name
