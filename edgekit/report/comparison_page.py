"""The page of a comparison: builds side by side, one column each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from edgekit.report.card import number
from edgekit.report.page import heading, page, paragraph, table

_FACTS = {
    "kind": "kind",
    "subject": "of",
    "target": "target",
    "threads": "threads",
    "board": "board",
    "made": "made of",
}

_NOT_COMPARABLE = "not comparable"
_WIDTH = 640


def comparison_page(record: Mapping[str, Any]) -> str:
    """From the record of a comparison."""
    builds, rows = record["builds"], record["rows"]
    names = [build["folder"] for build in builds]
    sections = [
        paragraph(f"Each build is held against the first, {names[0]}. {len(rows)} figures."),
        *_conditions(record["conditions"]),
        heading("Builds"),
        table("Builds", ("fact", *names), [_facts(key, label, builds) for key, label in _FACTS.items()]),
        heading("Figures"),
        paragraph(
            "A figure is not ranked where the intervals overlap, and not comparable where it is of other evidence, of another "
            "board or of other labels."
        ),
        table("Figures", ("figure", *names), [(row["figure"], *map(cell_text, row["cells"])) for row in rows]),
        heading("Side by side"),
        *(_bars(row, names) for row in rows if sum(cell is not None for cell in row["cells"]) > 1),
    ]
    return page(f"Comparison of {', '.join(names)}", sections)


def cell_text(cell: Mapping[str, Any] | None) -> str:
    """Value, interval, evidence, and what the difference from the first comes to."""
    if cell is None:
        return "none"
    return "; ".join([f"{value_text(cell)} {cell['evidence']}", *_told(cell["difference"])])


def value_text(cell: Mapping[str, Any]) -> str:
    if cell["value"] is None:
        return "not a number"
    interval = f" ({' to '.join(map(number, cell['interval']))})" if cell["interval"] else ""
    return f"{_amount(cell['value'], cell['unit'])}{interval}"


def _amount(value: float, unit: str) -> str:
    return number(value) if unit in ("fraction", "ratio") else f"{number(value)} {unit}"


def percent_text(difference: Mapping[str, Any]) -> str:
    """Nothing where there is no share to tell, or both are equal, or not of one kind."""
    if difference["percent"] is None or difference["verdict"] in ("equal", _NOT_COMPARABLE):
        return ""
    percent = difference["percent"]
    return f"{percent:+.1f} %" if percent == 0 or abs(percent) >= 0.05 else f"{percent:+.1g} %"


def verdict_text(difference: Mapping[str, Any]) -> str:
    reason = difference["reason"]
    return f"{difference['verdict']}, {reason}" if reason else str(difference["verdict"])


def _told(difference: Mapping[str, Any] | None) -> Iterator[str]:
    if difference is not None:
        yield from filter(None, (percent_text(difference), verdict_text(difference)))


def outcome_text(outcome: Mapping[str, Any]) -> str:
    """One sentence: whether a condition holds, and by how much."""
    value, limit, unit = outcome["value"], outcome["limit"], outcome["unit"]
    first = outcome["first"]
    share = f", {100 * (value - first) / abs(first):+.3g} %" if first else ""
    against = f"{share} against {_amount(first, unit)} of {outcome['first_folder']}" if first is not None else ""
    remark = f" ({outcome['remark']})" if outcome["remark"] else ""
    holds = "holds" if outcome["holds"] else "does not hold"
    side = "beyond" if outcome["holds"] else "within"
    return (
        f"{outcome['condition']} {holds} for {outcome['folder']}: {_amount(value, unit)}{against}, "
        f"{_amount(abs(value - limit), unit)} {side} the limit of {_amount(limit, unit)}{remark}"
    )


def _conditions(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    if not outcomes:
        return []
    return [heading("Conditions"), *(paragraph(f"{outcome_text(outcome)}.") for outcome in outcomes)]


def _facts(key: str, label: str, builds: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return (label, *(str(build.get(key, "none")) for build in builds))


def _bars(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """A bar for each build, as long as its figure, with a line over its interval; the table says the same in words. What is not
    comparable has none, so that nobody compares it by eye."""
    told = [(name, cell) for name, cell in zip(names, row["cells"], strict=True) if cell and cell["value"] is not None]
    longest = max((abs(end) for _, cell in told if _is_comparable(cell) for end in _ends(cell)), default=0) or 1
    bars = "".join(
        f"{paragraph(f'{name}: {cell_text(cell)}')}{_bar(cell, order, _WIDTH / longest)}"
        for order, (name, cell) in enumerate(told)
    )
    return f"<figure><figcaption>{escape(row['figure'])}</figcaption>{bars}</figure>"


def _bar(cell: Mapping[str, Any], order: int, scale: float) -> str:
    """`scale` is the width of a unit of the figure."""
    if not _is_comparable(cell):
        return ""
    value, low, high = (scale * max(end, 0) for end in _ends(cell))
    line = f'<rect x="{low:.1f}" y="5" width="{high - low:.1f}" height="2" fill="currentColor"/>' if high > low else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} 12" aria-hidden="true"><g class="series{order % 8}">'
        f'<rect width="{value:.1f}" height="12" fill="currentColor"/></g>{line}</svg>'
    )


def _ends(cell: Mapping[str, Any]) -> tuple[float, float, float]:
    """Value, and both ends of its interval."""
    low, high = cell["interval"] or (cell["value"], cell["value"])
    return cell["value"], low, high


def _is_comparable(cell: Mapping[str, Any]) -> bool:
    return cell["difference"] is None or cell["difference"]["verdict"] != _NOT_COMPARABLE
