"""One self-contained HTML page: no network, light and dark, printable, and whole without its script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape

from edgekit.report.script import SCRIPT
from edgekit.report.style import STYLE


def page(title: str, sections: Sequence[str], *, answers: bool = False) -> str:
    """`sections` are HTML; the title is text. With `answers` the page has the script that copies commands and shows points.

    The browser is told to load and to run nothing but what stands here, by its hash.
    """
    script, status = "", ""
    allowed = [f"style-src {_hash(STYLE)}"]
    if answers:
        script = f"<script>{SCRIPT}</script>\n"
        status = '<p class="hidden" id="status" role="status"></p>\n'
        allowed.append(f"script-src {_hash(SCRIPT)}")
    policy = "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1 dir="auto">{escape(title)}</h1>\n'
        + "\n".join(sections)
        + f"\n{status}</main>\n{script}</body>\n</html>\n"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Of texts; the first cell of a row is its heading."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return scrolling(caption, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def scrolling(caption: str, html: str) -> str:
    """What may be wider than the screen; the keyboard scrolls it too."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption)}">{html}</div>'


def paragraph(text: str) -> str:
    return f'<p dir="auto">{escape(text)}</p>'


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def section(name: str, title: str, parts: Sequence[str]) -> str:
    """With an id to link to; parts are HTML."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n' + "\n".join(parts) + "\n</section>"


def subheading(text: str) -> str:
    return f'<h3 dir="auto">{escape(text)}</h3>'


def details(summary: str, html: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    inside = "".join(f'<dt>{escape(name)}</dt><dd dir="auto">{escape(value)}</dd>' for name, value in rows)
    return f'<dl class="facts">{inside}</dl>'


def bullets(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f'<li dir="auto">{escape(text)}</li>' for text in texts) + "</ul>" if texts else ""


def command(text: str, what: str) -> str:
    """Something to type, with a button that copies it, on a page that answers; `what` tells the buttons apart."""
    return (
        f'<div class="command"><pre><code>{escape(text)}</code></pre>'
        f'<button type="button" class="copy" aria-label="Copy: {escape(what)}" hidden>Copy</button></div>'
    )
