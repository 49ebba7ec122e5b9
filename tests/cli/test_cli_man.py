"""The manual pages: one a command, without an error in their roff, read as man reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.cli.help import walk
from edgekit.cli.main import edgekit
from edgekit.cli.man import write_pages
from edgekit.core.errors import ExitCode


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    write_pages(folder)
    return folder


def test_every_command_has_a_page_with_all_its_options(pages: Path) -> None:
    assert {page.name for page in pages.iterdir()} == {
        "edgekit.1",
        *(f"edgekit-{'-'.join(path)}.1" for path, _ in walk(edgekit)),
    }
    for path, command in walk(edgekit):
        text = (pages / f"edgekit-{'-'.join(path)}.1").read_text().replace("\\-", "-")
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert max(parameter.opts, key=len) in text


def test_exit_codes_are_those_there_are(pages: Path) -> None:
    text = (pages / "edgekit.1").read_text().partition(".SH EXIT STATUS")[2]
    for code in ExitCode:
        assert f"\n\\fB{int(code)}\\fR\n" in text


@pytest.mark.parametrize("tool", ["mandoc", "groff"])
def test_readers_find_no_fault(pages: Path, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    files = sorted(map(str, pages.iterdir()))
    command = {"mandoc": ["mandoc", "-T", "lint", "-W", "error"], "groff": ["groff", "-man", "-ww", "-z", "-Tutf8"]}[
        tool
    ]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_examples_are_shown_as_they_are_typed(pages: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    page = str(pages / "edgekit-devices-calibrate.1")
    done = subprocess.run(["mandoc", "-T", "ascii", "-O", "width=80", page], capture_output=True, text=True, check=True)
    shown = subprocess.run(["col", "-b"], input=done.stdout, capture_output=True, text=True, check=True).stdout
    assert "edgekit devices calibrate my-board --measurements mine.csv \\\n" in shown
    assert "--like rpi4 --threads 4 --runtime-version 2.16.1\n" in shown
