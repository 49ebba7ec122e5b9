"""The front of a task on a target: what accuracy is to be had for which latency, each point with the command that builds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from edgekit.report.card import number
from edgekit.report.figures import Record, by_name, interval_text, value_text
from edgekit.report.page import command, details, facts, scrolling
from edgekit.report.plots import nice_ticks

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 24, 32, 60
_HIT, _DOT = 13, 6
_LEAST_SPAN = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axis:
    """Values from `low` to `high` lie between the pixels `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def front_plot(
    caption: str,
    points: Sequence[Record],
    built: Sequence[str],
    *,
    noun: str = "genotype",
    measure: str = "accuracy",
    limit_ms: float | None = None,
) -> str:
    """`points` have a `name`, which is a `noun`, figures with the latency and the `measure`, and a command; the fastest come first.
    `built` are the names of what lies in this folder."""
    if not points:
        return ""
    known = [by_name(point["figures"]) for point in points]
    latencies = [one["latency"]["value"] for one in known]
    accuracies = [one[measure]["value"] for one in known]
    x_ticks, y_ticks = nice_ticks(0.0, 1.05 * max(latencies)), _y_ticks(accuracies)
    x = _Axis(low=x_ticks[0], high=x_ticks[-1], start=_LEFT, end=WIDTH - _RIGHT)
    y = _Axis(low=y_ticks[0], high=max(y_ticks[-1], max(accuracies)), start=HEIGHT - _BOTTOM, end=_TOP)
    chosen = next((index for index, point in enumerate(points) if point["name"] in built), 0)
    marks = "".join(
        _point(
            f"{value_text(figures['latency'])}, {measure} {value_text(figures[measure])}",
            (x.at(latency), y.at(accuracy)),
            is_built=point["name"] in built,
            checked=index == chosen,
        )
        for index, (point, figures, latency, accuracy) in enumerate(
            zip(points, known, latencies, accuracies, strict=True)
        )
    )
    shown = "".join(
        _detail(noun, point, figures, built, hidden=index != chosen)
        for index, (point, figures) in enumerate(zip(points, known, strict=True))
    )
    return (
        f'<figure class="front"><figcaption>{escape(caption)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{escape(caption)}">'
        f'<g aria-hidden="true">{_grid(x, y, x_ticks, y_ticks)}{_envelope(x, y, latencies, accuracies)}{_limit(x, y, limit_ms)}</g>'
        f'<g role="radiogroup" aria-label="{escape(caption)}, the fastest first">{marks}</g></svg>'
        f'<div aria-live="polite">{shown}</div></figure>'
        + details("The same as a table", _table(noun, points, known, built))
    )


def _point(name: str, at: tuple[float, float], *, is_built: bool, checked: bool) -> str:
    x, y = at
    dot = (
        f'<path class="dot" d="M0 -{_DOT + 2} L{_DOT + 2} 0 L0 {_DOT + 2} L-{_DOT + 2} 0 Z"/>'
        if is_built
        else f'<circle class="dot" r="{_DOT}"/>'
    )
    return (
        f'<g class="point{" built" if is_built else ""}" role="radio" tabindex="{0 if checked else -1}" '
        f'aria-checked="{str(checked).lower()}" aria-label="{escape(name)}{", built" if is_built else ""}" '
        f'transform="translate({x:.1f} {y:.1f})"><circle class="hit" r="{_HIT}"/>{dot}</g>'
    )


def _detail(noun: str, point: Record, figures: Record, built: Sequence[str], *, hidden: bool) -> str:
    rows = [(noun, point["name"] + (" (built)" if point["name"] in built else ""))]
    for name, figure in figures.items():
        interval = f" ({interval_text(figure)})" if figure["interval"] else ""
        rows.append((name, f"{value_text(figure)}{interval}, {figure['evidence']}"))
    return (
        f'<div class="detail"{" hidden" if hidden else ""}>{facts(rows)}'
        f"{command(point['command'], 'builds ' + point['name'])}</div>"
    )


def _table(noun: str, points: Sequence[Record], known: Sequence[Record], built: Sequence[str]) -> str:
    names = list(dict.fromkeys(name for figures in known for name in figures))
    head = f'<th scope="col">{escape(noun)}</th>'
    head += "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row" rowspan="2">{escape(point["name"])}{" (built)" if point["name"] in built else ""}</th>'
        + "".join(f'<td class="number">{escape(value_text(figures[name]))}</td>' for name in names)
        + f'</tr><tr><td colspan="{len(names)}"><code>{escape(point["command"])}</code></td></tr>'
        for point, figures in zip(points, known, strict=True)
    )
    return scrolling(f"Every {noun}", f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")


def _grid(x: _Axis, y: _Axis, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
    lines = [
        f'<line class="grid" x1="{x.start}" y1="{y.at(tick):.1f}" x2="{x.end}" y2="{y.at(tick):.1f}"/>'
        f'<text x="{x.start - 8}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{100 * tick:.5g} %</text>'
        for tick in y_ticks
    ]
    lines += [
        f'<text x="{x.at(tick):.1f}" y="{y.start + 24}" text-anchor="middle">{number(tick)}</text>' for tick in x_ticks
    ]
    middle = (x.start + x.end) / 2
    lines.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">latency, ms</text>')
    return "".join(lines)


def _y_ticks(shares: Sequence[float]) -> list[float]:
    """From below the least to what holds the largest, but no line above 100 %."""
    low, high = min(shares), max(shares)
    return [tick for tick in nice_ticks(min(low, high - _LEAST_SPAN), high) if tick <= 1.0 + 1e-9]


def _envelope(x: _Axis, y: _Axis, latencies: Sequence[float], accuracies: Sequence[float]) -> str:
    """The most accurate of all that are as fast."""
    best, path = 0.0, ""
    for latency, accuracy in zip(latencies, accuracies, strict=True):
        if accuracy > best:
            across, down = f"{x.at(latency):.1f}", f"{y.at(accuracy):.1f}"
            path += f"H{across} V{down} " if path else f"M{across} {down} "
            best = accuracy
    return f'<path class="envelope" d="{path}H{x.end}"/>'


def _limit(x: _Axis, y: _Axis, limit_ms: float | None) -> str:
    if limit_ms is None or limit_ms > x.high:
        return ""
    across = f"{x.at(limit_ms):.1f}"
    return (
        f'<line class="limit" x1="{across}" y1="{y.start}" x2="{across}" y2="{y.end}"/>'
        f'<text x="{across}" y="{y.end - 8}" text-anchor="{"end" if limit_ms > 0.8 * x.high else "middle"}">'
        f"limit {number(limit_ms)} ms</text>"
    )
