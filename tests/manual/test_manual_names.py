"""What the manual names exists: commands, options, extras, files, pages; and the manual names all that exists."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from manual_pages import PAGES, REPO_ROOT, calls, check_call, commands, fences, name_of, prose_of

from edgekit.cli.main import edgekit
from edgekit.core.errors import ExitCode

DOCS = REPO_ROOT / "docs"
EXTRAS = tomllib.loads((REPO_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_call_is_one_that_edgekit_takes(page: Path) -> None:
    for words in calls(page):
        check_call(words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_fence_says_what_it_holds(page: Path) -> None:
    for fence in fences(page):
        assert fence.language, f"line {fence.line}"
    assert not re.search(r"^    (edgekit|python|pip|make) ", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_extras_scripts_and_targets_of_make_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for extra in re.findall(r"edgekit\[([a-z,]+)\]", text):
        assert {*extra.split(",")} <= {*EXTRAS}, extra
    for script in re.findall(r"(?:python |`)(benchmarks/\w+\.py)", text):
        assert (REPO_ROOT / script).is_file(), script
    targets = {*re.findall(r"^(\w+):", (REPO_ROOT / "Makefile").read_text(), re.MULTILINE)}
    for fence in fences(page):
        if fence.language == "sh":
            for command in commands(fence.text):
                assert command.words[0] != "make" or {*command.words[1:]} <= targets, command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    """Those between pages of the site are checked by mkdocs, anchors too."""
    for link in LINK.findall(prose_of(page)):
        target = link.partition("#")[0]
        made_of_a_device = re.fullmatch(r"(\.\./)?devices/([\w-]+)\.md", target)
        if made_of_a_device:
            assert (REPO_ROOT / "devices" / made_of_a_device[2] / "device.toml").is_file(), link
        else:
            assert (page.parent / target).exists(), link


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_has_a_page(code: ExitCode) -> None:
    page = DOCS / "exit-codes" / f"{int(code)}.md"
    assert page.read_text(encoding="utf-8").startswith(f"# Exit code {int(code)}")


def _all(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for child, found in command.commands.items():
            yield from _all(found, f"{name} {child}")


@pytest.fixture(scope="session")
def prose() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("name", [name for name, _ in _all(edgekit, "edgekit")])
def test_every_command_is_told_of_outside_the_reference(name: str, prose: str) -> None:
    assert re.search(rf"\b{name}\b", prose)


def test_every_function_of_the_page_on_python_exists() -> None:
    names = re.findall(r"`(edgekit\.[a-z_.]+)`", prose_of(DOCS / "python.md"))
    assert len(names) > 10
    for name in names:
        if not name.endswith(".toml"):
            assert callable(pkgutil.resolve_name(name)), name


def test_expectations_name_tests_that_exist() -> None:
    text = (DOCS / "expectations.md").read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == [*range(1, 26)]
    for row in re.findall(r"^\| \d* \|.*$", text, re.MULTILINE):
        _, _, _, state, how, _ = re.split(r"(?<!\\)\|", row)
        named = re.findall(r"`((?:tests|edgekit)/[\w/]+\.py)`", how)
        assert state.strip() in ("met", "partly", "not")
        assert named or state.strip() == "not", row
        for path in named:
            assert (REPO_ROOT / path).is_file(), path
