"""Figures of a record as people read them: value, interval, evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgekit.report.card import number
from edgekit.report.page import scrolling

Record = Mapping[str, Any]

_NO_BREAK = "\N{NO-BREAK SPACE}"

MEANINGS = (
    ("measured", "counted in the file, timed on a real board, or judged on pictures whose class is known"),
    ("emulated", "instructions that an emulated board executed; never a time"),
    (
        "predicted",
        "by a model, which the source names; with the interval that holds the true value, where one is known",
    ),
    ("published", "by others, whom the source names"),
)


def by_name(figures: Sequence[Record]) -> dict[str, Record]:
    return {figure["name"]: figure for figure in figures}


def value_text(figure: Record) -> str:
    """Shares as percent."""
    return _text(figure["value"], figure["unit"])


def interval_text(figure: Record) -> str:
    if not figure["interval"]:
        return ""
    low, high = figure["interval"]
    return f"{_text(low, figure['unit'])} to {_text(high, figure['unit'])}"


def _text(value: float, unit: str) -> str:
    if unit == "fraction":
        return percent(value)
    return f"{number(value)}{_NO_BREAK}{unit}"


def percent(share: float) -> str:
    """Never rounded up to all."""
    return f"{min(100 * share, 99.99) if share < 1 else 100 * share:.4g}{_NO_BREAK}%"


def badge(evidence: str) -> str:
    return f'<span class="evidence {escape(evidence)}">{escape(evidence)}</span>'


def tiles(figures: Sequence[Record], names: Sequence[str]) -> str:
    """The figures that matter most, large; those that are there."""
    known = by_name(figures)
    return (
        '<ul class="tiles">'
        + "".join(
            f'<li><div class="name">{escape(name)}</div><div class="value">{escape(value_text(known[name]))}</div>'
            f'<div class="interval">{escape(interval_text(known[name]))}</div>{badge(known[name]["evidence"])}</li>'
            for name in names
            if name in known
        )
        + "</ul>"
    )


def figures_table(caption: str, figures: Sequence[Record]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in ("figure", "value", "interval", "evidence", "source"))
    rows = "".join(
        f'<tr><th scope="row">{escape(one["name"])}</th><td class="line">{escape(value_text(one))}</td>'
        f'<td class="line">{escape(interval_text(one))}</td><td>{badge(one["evidence"])}</td>'
        f'<td class="source">{escape(one["source"])}</td></tr>'
        for one in figures
    )
    return scrolling(caption, f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
