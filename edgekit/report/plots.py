"""Plots as SVG text: no script, no network, colours by the reader's light or dark theme, and a sentence for who cannot see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from edgekit.report.page import details, table

WIDTH, HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 40
_TICKS = 5
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A line: its name and its points, in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


def line_plot(title: str, series: Sequence[Series], *, x_label: str, y_label: str, percent: bool = False) -> str:
    """An SVG; series without points are left out, and an empty string is returned where there is none."""
    drawn = [one for one in series if one.points]
    if not drawn:
        return ""
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points]
    left, right = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    ticks = nice_ticks(min(0.0, *ys), max(ys))
    low, high = ticks[0], ticks[-1]

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - left) / (right - left) * (WIDTH - _LEFT - _RIGHT)
        down = HEIGHT - _BOTTOM - (y - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)
        return f"{across:.1f},{down:.1f}"

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_sentence(title, drawn, percent))}">',
        *(_grid_line(place(left, tick), place(right, tick), _number(tick, percent)) for tick in ticks),
        f'<text x="{(WIDTH + _LEFT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="12" y="{HEIGHT / 2:.0f}" text-anchor="middle" transform="rotate(-90 12 {HEIGHT / 2:.0f})">'
        f"{escape(y_label)}</text>",
        *(_x_tick(place(tick, low), tick) for tick in nice_ticks(left, right) if left <= tick <= right),
    ]
    for number, one in enumerate(drawn):
        points = " ".join(place(x, y) for x, y in one.points)
        dash = f' stroke-dasharray="{_DASHES[number % len(_DASHES)]}"' if number % len(_DASHES) else ""
        parts.append(f'<polyline class="line series{number % 8}" points="{points}"{dash}/>')
    legend = "".join(
        f'<li class="series{number % 8}"><span aria-hidden="true">■</span> {escape(one.name)}</li>'
        for number, one in enumerate(drawn)
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        + "\n".join([*parts, "</svg>"])
        + (f'<ul class="legend">{legend}</ul>' if len(drawn) > 1 else "")
        + details("The same as a table", _table(title, drawn, x_label, percent))
        + "</figure>"
    )


def _table(title: str, series: Sequence[Series], x_label: str, percent: bool) -> str:
    known = [dict(one.points) for one in series]
    rows = [
        (f"{x:g}", *(_number(points[x], percent) if x in points else "" for points in known))
        for x in sorted({x for points in known for x in points})
    ]
    return table(title, (x_label, *(one.name for one in series)), rows)


def nice_ticks(low: float, high: float) -> list[float]:
    """Some round numbers from below `low` to above `high`, evenly spaced."""
    largest = max(abs(low), abs(high), 1e-12)
    span = high - low if high - low > 1e-12 * largest else largest
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * _TICKS >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _grid_line(start: str, end: str, text: str) -> str:
    (x1, y1), (x2, y2) = start.split(","), end.split(",")
    return (
        f'<line class="grid" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
        f'<text x="{float(x1) - 6:.1f}" y="{float(y1) + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _x_tick(at: str, tick: float) -> str:
    x, y = at.split(",")
    return f'<text x="{x}" y="{float(y) + 16:.1f}" text-anchor="middle">{_number(tick, False)}</text>'


def _number(value: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.4g} %"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g}"


def _sentence(title: str, series: Sequence[Series], percent: bool) -> str:
    ends = (
        f"{one.name} from {_number(one.points[0][1], percent)} to {_number(one.points[-1][1], percent)}"
        for one in series
    )
    return f"{title}: {'; '.join(ends)}"
