"""All extras live in one environment: that of the tests. By Python and machine: benchmarks/extras.py."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPO_ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPO_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_the_environment_of_the_tests_has_the_extra(extra: str) -> None:
    for text in PROJECT["optional-dependencies"][extra]:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate():
            try:
                found = version(wanted.name)
            except PackageNotFoundError:
                pytest.fail(f"{text} is not installed")
            assert wanted.specifier.contains(found, prereleases=True), f"{text}, found {found}"


def test_extras_do_not_fight() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
