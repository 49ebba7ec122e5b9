"""Pages in headless Chromium, as a reader has them: any width, light or dark, with what went wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (360, 768, 1440)
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")

_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass(frozen=True, kw_only=True, slots=True)
class Browsed:
    """A page that was opened. `errors` are what the console told, `requests` whatever it asked for beside itself."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def overflow(self) -> int:
        """How many pixels the document is wider than the window."""
        return int(self.page.evaluate(_OVERFLOW))

    def violations(self) -> list[str]:
        """What axe-core finds against WCAG 2.2 A and AA, and its own best practice: rule and element."""
        from axe_playwright_python.sync_playwright import Axe

        options = {"runOnly": list(RULES), "resultTypes": ["violations"]}
        found: list[dict[str, Any]] = Axe().run(self.page, options=options).response["violations"]
        return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


Browse = Callable[..., Browsed]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One for all tests; they are skipped where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (apt install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (edgekit[dev])")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture
def browsed(chromium: Browser) -> Iterator[Browse]:
    """`browsed(path, width=360, dark=True)` opens a file; `scripts=False` as for readers who allow none."""
    contexts = []

    def browse(path: Path, *, width: int = 1440, dark: bool = False, scripts: bool = True) -> Browsed:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        opened = Browsed(page=context.new_page())
        opened.page.on(
            "console", lambda told: opened.errors.append(told.text) if told.type in ("error", "warning") else None
        )
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.resolve().as_uri())
        opened.requests.remove(opened.page.url)
        return opened

    yield browse
    for context in contexts:
        context.close()
