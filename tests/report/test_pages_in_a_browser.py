"""Pages as people open them: on a phone and on a screen, light and dark, by pointer and by keyboard, without scripts, on paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from browser import WIDTHS, Browse, Browsed

import edgekit
from edgekit.report.fleet_page import fleet_page
from edgekit.report.pages import page_of

OF_FOLDERS = ("build", "own classes", "early exit", "compression", "federated")
KINDS = (*OF_FOLDERS, "comparison", "fleet")
"""Those of a new kind of page belong here."""

POINTS, SHOWN = ".front .point", ".front .detail:not([hidden])"


@pytest.fixture(scope="session")
def pages(
    records: Mapping[str, Mapping[str, Any]], judged_build: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The file of each kind of page."""
    folder = tmp_path_factory.mktemp("pages")
    for kind in OF_FOLDERS:
        (folder / f"{kind}.html").write_text(page_of(records[kind]))
    edgekit.compare(judged_build, judged_build, judged_build).write_page(folder / "comparison.html")
    (folder / "fleet.html").write_text(fleet_page(fleet_of(records["build"])))
    return {kind: folder / f"{kind}.html" for kind in KINDS}


def fleet_of(build: Mapping[str, Any]) -> dict[str, Any]:
    """Two members as `fleet.json` has them: one built, and one that failed."""
    named = {"target": "rpi4:tflite-int8", "limits": {"latency_ms": 1.0}}
    built = {name: build[name] for name in ("figures", "genotype", "sha256")}
    failure = {"code": 3, "message": "nothing is as fast as that", "hint": "allow 0.2 ms"}
    members = [
        {"name": "signs-rpi4-tight", "folder": "signs-rpi4-tight", "state": "built", **named, **built},
        {"name": "signs-rpi4-none", "folder": "signs-rpi4-none", "state": "failed", **named, "failure": failure},
    ]
    counts = {"built": 1, "failed": 1}
    return {"members": members, "counts": counts, "crew": "2 processes on this machine", "seconds": 12.5}


@pytest.fixture
def build_page(browsed: Browse, pages: dict[str, Path]) -> Browsed:
    return browsed(pages["build"], width=768)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_read_at_every_width_in_light_and_dark(browsed: Browse, pages: dict[str, Path], kind: str) -> None:
    for dark in (False, True):
        opened = browsed(pages[kind], dark=dark)
        opened.page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        for width in WIDTHS:
            opened.page.set_viewport_size({"width": width, "height": 900})
            assert opened.overflow <= 0, width
            # What axe-core judges seldom depends on the width, and takes a second.
            if kind == "build" or (width, dark) in ((360, False), (1440, True)):
                assert not opened.violations(), (width, dark)
        assert not opened.errors
        assert not opened.requests


def test_points_of_the_front_answer_to_the_pointer(build_page: Browsed) -> None:
    page = build_page.page
    points, shown = page.locator(POINTS), page.locator(SHOWN)
    built = shown.inner_text()
    assert "(built)" in built
    points.first.hover(force=True)
    assert shown.inner_text() != built
    page.mouse.move(0, 0)
    assert shown.inner_text() == built
    points.first.click(force=True)
    page.mouse.move(0, 0)
    assert shown.inner_text() != built
    assert points.first.get_attribute("aria-checked") == "true"
    assert page.locator(f'{POINTS}[aria-checked="true"]').count() == 1


def test_the_keyboard_reaches_every_point_and_every_button(build_page: Browsed) -> None:
    page = build_page.page
    points, shown = page.locator(POINTS), page.locator(SHOWN)
    page.locator(f'{POINTS}[tabindex="0"]').focus()
    page.keyboard.press("Home")
    seen = {shown.inner_text()}
    for _ in range(points.count() - 1):
        page.keyboard.press("ArrowRight")
        seen.add(shown.inner_text())
    assert len(seen) == points.count()
    page.keyboard.press("ArrowRight")
    assert points.first.get_attribute("aria-checked") == "true"
    reachable = page.locator("button:visible, summary, a, .scroll:visible").count()
    page.locator("a").first.focus()
    stops = set()
    for _ in range(2 * reachable + 4):
        stops.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
        page.keyboard.press("Tab")
    assert len(stops) >= reachable + 1, "and the front"


def test_every_command_can_be_copied_and_says_so(build_page: Browsed) -> None:
    page = build_page.page
    buttons = page.locator("button.copy:visible")
    for index in range(buttons.count()):
        button = buttons.nth(index)
        button.focus()
        page.keyboard.press("Enter" if index % 2 else "Space")
        page.locator("#status", has_text="Copied.").wait_for(state="attached")
        wanted = button.locator("xpath=..").locator("code").text_content()
        assert page.evaluate("navigator.clipboard.readText()") == wanted
    assert buttons.count() >= 5
    assert not build_page.errors


def test_a_browser_without_a_clipboard_selects_the_command(build_page: Browsed) -> None:
    page = build_page.page
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    button = page.locator("button.copy:visible").last
    button.click()
    page.locator("#status", has_text="Selected").wait_for(state="attached")
    assert page.evaluate("getSelection().toString()") == button.locator("xpath=..").locator("code").text_content()


def test_a_page_is_whole_without_its_script(
    browsed: Browse, pages: dict[str, Path], records: Mapping[str, Mapping[str, Any]]
) -> None:
    page = browsed(pages["build"], scripts=False).page
    text = page.locator("body").text_content() or ""
    assert page.locator("button:visible").count() == 0
    for point in records["build"]["front"]:
        assert point["command"] in text


@pytest.mark.parametrize("kind", ["build", "federated"])
def test_a_page_prints_with_everything_open(browsed: Browse, pages: dict[str, Path], kind: str) -> None:
    page = browsed(pages[kind]).page
    page.emulate_media(media="print")
    assert page.locator("details tbody tr").first.is_visible()
    assert not page.locator("nav:visible, button:visible").count()
    assert page.pdf(format="A4").startswith(b"%PDF")
