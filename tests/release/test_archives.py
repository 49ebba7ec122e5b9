"""What the wheel and the sdist hold: all that edgekit needs, the notices of what comes from others, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest

from edgekit.cli.help import walk
from edgekit.cli.main import edgekit
from edgekit.core.data_folders import data_folder
from edgekit.supernet.storage import list_supernets, open_supernet
from edgekit.version import VERSION

REPO_ROOT = Path(__file__).parents[2]
NOTICES = {"LICENSE", "NOTICE"}
MOST_BYTES = 40_000_000


def build(source: Path, kind: str, folder: Path) -> Path:
    """With this environment's setuptools and no network; timestamps are fixed, as a release fixes them."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        cwd=source,
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        check=True,
    )
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Files of the checkout that git knows or would add."""
    if not (REPO_ROOT / ".git").exists():
        pytest.skip("no git checkout: what belongs into the archives is unknown")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.splitlines()


@pytest.fixture(scope="module")
def checkout(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the leftovers of a working day in it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO_ROOT / name, folder / name)
    for left in ("edgekit/core/__pycache__/model.cpython-311.pyc", "models/signs43/.DS_Store", "out/model.tflite"):
        (folder / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / left).write_bytes(b"left")
    return folder


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from the sdist, as a release is."""
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked := tmp_path_factory.mktemp("unpacked"), filter="data")
    return build(unpacked / f"edgekit-{VERSION}", "wheel", tmp_path_factory.mktemp("wheel"))


def files_of_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_package_models_devices_and_notices_alone(wheel: Path, tracked: list[str]) -> None:
    code = {name for name in tracked if name.startswith("edgekit/")}
    data = {f"edgekit/_data/{name}" for name in tracked if name.startswith(("models/", "devices/"))}
    facts = {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "top_level.txt",
        *(f"licenses/{name}" for name in NOTICES),
    }
    manual = {
        f"edgekit-{VERSION}.data/data/share/man/man1/{'-'.join(('edgekit', *path))}.1" for path, _ in walk(edgekit)
    }
    manual.add(f"edgekit-{VERSION}.data/data/share/man/man1/edgekit.1")
    assert files_of_wheel(wheel) == code | data | manual | {f"edgekit-{VERSION}.dist-info/{name}" for name in facts}


def test_the_sdist_holds_what_the_wheel_is_made_of_alone(sdist: Path, tracked: list[str]) -> None:
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {"PKG-INFO", "setup.cfg", *(name for name in files if name.startswith("edgekit.egg-info/"))}
    own = NOTICES | {"CHANGELOG.md", "MANIFEST.in", "README.md", "constraints.txt", "pyproject.toml", "setup.py"}
    assert files - made == own | {name for name in tracked if name.startswith(("edgekit/", "models/", "devices/"))}


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    """But for what a working day leaves in a checkout, which a release therefore does not build from."""
    for left in ("edgekit/core/__pycache__", "models/signs43/.DS_Store", "build"):
        path = checkout / left
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    assert build(checkout, "wheel", tmp_path).read_bytes() == wheel.read_bytes()


def test_both_are_small(wheel: Path, sdist: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES
    assert sdist.stat().st_size < MOST_BYTES


def test_there_is_one_version(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"edgekit-{VERSION}.dist-info/METADATA").decode())
    said = subprocess.run(
        [sys.executable, "-m", "edgekit.cli.main", "--version"], capture_output=True, text=True, check=True
    )
    changelog = (REPO_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = [found for found in re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE) if found != "Unreleased"]
    assert metadata["Version"] == VERSION
    assert said.stdout.split()[-1] == VERSION
    assert released[0] == VERSION
    assert version("edgekit") == VERSION, "the environment is older than the checkout: install it anew"


def test_the_notice_names_every_model_and_every_table() -> None:
    text = " ".join((REPO_ROOT / "NOTICE").read_text(encoding="utf-8").split())
    for name in list_supernets():
        card = open_supernet(name).card
        assert f"{name}: weights" in text
        assert card["licence"] in text
    for file in data_folder("devices").glob("*/device.toml"):
        device = tomllib.loads(file.read_text(encoding="utf-8"))
        for figures in (*device.get("runtimes", {}).values(), *device.get("figures", {}).values()):
            if "source_url" in figures:
                assert figures["source_url"] in text, file
                assert figures["licence"] in text, file
