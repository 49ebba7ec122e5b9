"""Every command of the README and of the manual is run, page by page, as a reader would type them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from manual_pages import PAGES, Command, fences, name_of
from run_page import SLOW, Builds, Page, in_this_process
from users_files import write_users_files

FIRST_BUILD = ("edgekit", "build", "--target", "rpi4", "--task", "stop, yield, no entry", "--latency-ms", "1.0")
RUNNABLE = [page for page in PAGES if any(f.language in ("sh", "python") for f in fences(page))]
WITH_SLOW = [page for page in RUNNABLE if any(f.language == "sh" and f.title == SLOW for f in fences(page))]


@pytest.fixture(scope="session")
def users_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual") / "files"
    folder.mkdir()
    write_users_files(folder)
    return folder


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(folder=tmp_path_factory.mktemp("manual_builds"))


@pytest.fixture
def page(users_files: Path, builds: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """An empty home, and a folder with the reader's files, in which the README's first build has been made."""
    for name in ("CONFIG", "CACHE", "STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    here = tmp_path / "here"
    shutil.copytree(users_files, here)
    monkeypatch.chdir(here)
    return Page(builds)


@pytest.mark.parametrize("path", RUNNABLE, ids=name_of)
def test_the_page_does_as_it_says(path: Path, page: Page, builds: Builds) -> None:
    _first_build(path, builds)
    for fence in fences(path):
        page.follow(fence)


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_SLOW, ids=name_of)
def test_the_page_does_as_it_says_of_what_takes_minutes(path: Path, page: Page, builds: Builds) -> None:
    _first_build(path, builds)
    for fence in fences(path):
        page.follow(fence, slow=True)


def test_a_command_that_fails_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit code 9"):
        in_this_process(Command(words=("edgekit", "verify", str(tmp_path / "nowhere")), code=0))


def _first_build(path: Path, builds: Builds) -> None:
    """The pages that begin with it make it themselves."""
    if not any("-o out/" in fence.text for fence in fences(path) if fence.language == "sh" and not fence.title):
        builds.run(FIRST_BUILD, Path("out"))
        shutil.copy("out/model.tflite", "model.tflite")
