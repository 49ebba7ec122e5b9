"""Puts what ships with edgekit but lies beside its package in a checkout into a wheel, where `data_folder` looks for it."""

from __future__ import annotations

import shutil
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


setup(cmdclass={"build_py": BuildWithData})
