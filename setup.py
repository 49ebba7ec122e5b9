"""Puts what ships with edgekit but lies beside its package in a checkout into a wheel, where `data_folder` looks for it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("devices", "models")


class BuildWithData(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in SHIPPED:
                shutil.copytree(name, Path(self.build_lib, "edgekit", "_data", name), dirs_exist_ok=True)


def manual_pages() -> list[tuple[str, list[str]]]:
    """`man edgekit`, from the help texts of the commands."""
    sys.path.insert(0, str(Path(__file__).parent))
    from edgekit.cli.man import write_pages

    return [("share/man/man1", [str(page) for page in write_pages(Path("build", "man"))])]


setup(cmdclass={"build_py": BuildWithData}, data_files=manual_pages())
