"""The manual as a site: it builds without a warning, asks no other machine for anything, and knows every option."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from manual_pages import REPO_ROOT

from edgekit.cli.main import edgekit
from edgekit.devices.device import list_devices

LOADED_FROM = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "form": "action",
}
METADATA = {"canonical"}


class Loaded(HTMLParser):
    """What a page makes a browser fetch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADED_FROM and given.get("rel") not in METADATA:
            self.addresses.append(given.get(LOADED_FROM[tag]) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=REPO_ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_page_asks_another_machine(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 60
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.addresses
        assert not [one for one in loaded.addresses if re.match(r"(\w+:)?//", one)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_every_option_of_every_command_is_in_the_reference(site: Path) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", (site / "commands.html").read_text(encoding="utf-8")))
    sections = dict(re.findall(r"^(edgekit[\w -]*)¶\n(.*?)(?=^edgekit[\w -]*¶$|\Z)", text, re.MULTILINE | re.DOTALL))

    def check(command: click.Command, name: str) -> None:
        section = sections[name]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(option in section for option in parameter.opts), f"{parameter.opts} of {name}"
        for child, found in command.commands.items() if isinstance(command, click.Group) else ():
            check(found, f"{name} {child}")

    check(edgekit, "edgekit")


def test_every_device_has_a_page_with_its_sources(site: Path) -> None:
    for device in list_devices(REPO_ROOT / "devices"):
        if device.name != "host":
            page = html.unescape(
                re.sub(r"<[^>]+>", "", (site / f"devices/{device.name}.html").read_text(encoding="utf-8"))
            )
            for source in (*device.sources, *(figures.source for figures in device.figures)):
                assert " ".join(source.split()) in " ".join(page.split()), (device.name, source)
