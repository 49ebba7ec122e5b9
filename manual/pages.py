"""What the manual holds beside `docs/`: a page for each device, files of the repository that are pages too, and a menu of what is
there. mkdocs calls the functions named `on_`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

from device_page import device_pages  # noqa: E402  (beside this file, which is no package)

ALSO_PAGES = {
    "ci/workflows/README.md": "ci/workflows.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    **{f"models/{name}/card.md": f"models/{name}.md" for name in ("signs43", "things200")},
}
"""Files outside `docs/`, and the page that each becomes."""
SOURCES = {page: source for source, page in ALSO_PAGES.items()}

LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, text in device_pages(ROOT / "devices").items():
        files.append(File.generated(config, f"devices/{path}", content=text))
    for source, page in ALSO_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    config.nav = _present(config.nav or [], files)
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 (of mkdocs)
    """Links to files of the repository lead to their pages; of those that are no page the words stay."""
    uri = page.file.src_uri
    origin = SOURCES.get(uri, f"docs/{uri}")

    def link(match: re.Match[str]) -> str:
        words, anchor = match[1], match[3] or ""
        target = normpath(f"{dirname(origin)}/{match[2]}")
        if target in ALSO_PAGES:
            found = ALSO_PAGES[target]
        elif target.startswith("docs/"):
            found = target.removeprefix("docs/")
        else:
            return words if (ROOT / target).exists() else match[0]
        return f"[{words}]({relpath(found, dirname(uri) or '.')}{anchor})"

    return LINK.sub(link, markdown)


def _present(entries: list[Any], files: Files) -> list[Any]:
    """The menu without pages that are not there: a page comes with what it describes. A folder stands for all of its pages."""
    menu: list[Any] = []
    for entry in entries:
        ((title, what),) = entry.items()
        if isinstance(what, list):
            if within := _present(what, files):
                menu.append({title: within})
        elif what.endswith("/"):
            pages = [file.src_uri for file in files.documentation_pages() if file.src_uri.startswith(what)]
            menu.append({title: sorted(pages, key=_by_number)})
        elif files.get_file_from_path(what):
            menu.append(entry)
    return menu


def _by_number(uri: str) -> tuple[int, str]:
    stem = Path(uri).stem
    return (int(stem) if stem.isdigit() else -1, stem)
