"""Tables whose numbers are bars too: what each step made of a network, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgekit.report.card import number
from edgekit.report.figures import Record, badge, by_name, interval_text, percent, value_text
from edgekit.report.page import scrolling, table


def bar(share: float) -> str:
    """`share` of the width, from 0 to 1; a reader without sight has the number beside it."""
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect width="{width:.1f}" height="8" rx="1"/></svg>'
    )


def waterfall(caption: str, steps: Sequence[Record]) -> str:
    """`steps` as a record has them: a name, figures, and a note."""
    known = [by_name(step["figures"]) for step in steps]
    names = list(dict.fromkeys(name for figures in known for name in figures))
    largest = {name: max((one[name]["value"] for one in known if name in one), default=0) or 1 for name in names}
    head = '<th scope="col">network</th>' + "".join(
        f'<th scope="col" class="number">{escape(name)}</th>' for name in names
    )
    body = "".join(
        f'<tr><th scope="row">{escape(step["name"])}<small>{escape(step["note"])}</small></th>'
        + "".join(_cell(figures.get(name), largest[name]) for name in names)
        + "</tr>"
        for step, figures in zip(steps, known, strict=True)
    )
    return scrolling(caption, f'<table class="waterfall"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _cell(figure: Record | None, largest: float) -> str:
    if figure is None:
        return '<td class="number">not known</td>'
    interval = f"<small>{escape(interval_text(figure))}</small>" if figure["interval"] else ""
    return (
        f'<td class="number">{escape(value_text(figure))}{bar(figure["value"] / largest)}{interval}'
        f"<small>{badge(figure['evidence'])}</small></td>"
    )


def kinds_table(caption: str, kinds: Sequence[Record]) -> str:
    """What takes most time comes first."""
    longest = max((one["share"] for one in kinds), default=1.0) or 1.0
    rows = "".join(
        f'<tr><th scope="row">{escape(one["kind"])}</th><td class="number">{one["operators"]}</td>'
        f'<td class="number">{one["macs"]:,}</td><td class="number">{number(one["latency_ms"])} ms</td>'
        f'<td class="number">{percent(one["share"])}{bar(one["share"] / longest)}</td></tr>'
        for one in kinds
    )
    head = '<th scope="col">kind</th>' + "".join(
        f'<th scope="col" class="number">{name}</th>' for name in ("operators", "MACs", "predicted", "share")
    )
    return scrolling(caption, f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")


def operators_table(caption: str, operators: Sequence[Record]) -> str:
    return table(
        caption,
        ("operator", "kind", "kernel", "stride", "channels", "MACs", "bytes moved", "predicted, ms", "share"),
        [
            (
                one["name"],
                one["kind"],
                str(one["kernel"]),
                str(one["stride"]),
                str(one["channels"]),
                f"{one['macs']:,}",
                f"{one['bytes_moved']:,}",
                number(one["latency_ms"]),
                percent(one["share"]),
            )
            for one in operators
        ],
    )
