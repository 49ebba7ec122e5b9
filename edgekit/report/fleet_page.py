"""`index.html` of a fleet: every member with its figures and their evidence, linked to its own report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from edgekit.report.card import number
from edgekit.report.page import heading, page, paragraph, table

_FIGURES: Final = ("accuracy", "latency", "size", "peak RAM", "MACs")
_REPORTS: Final = ("report.html", "card.md")


def fleet_page(fleet: Mapping[str, Any]) -> str:
    """From the record of `fleet.json`."""
    members = fleet["members"]
    failed = [member for member in members if "failure" in member]
    counts = ", ".join(f"{count} {state}" for state, count in fleet["counts"].items() if count)
    sections = [paragraph(f"{len(members)} members: {counts or 'none'}. {fleet['crew']}, {fleet['seconds']:.1f} s.")]
    if failed:
        sections += [heading("Not built"), table("Not built", ("member", "exit code", "why"), list(map(_why, failed)))]
    built = [member for member in members if "failure" not in member]
    header = ("member", "target", "limits", *_FIGURES, "genotype", "state")
    sections += [heading("Built"), _linked(header, [(_report(member), _row(member)) for member in built])]
    sections.append(
        paragraph("Beside each figure stands its evidence; sources and intervals are in each member's report.")
    )
    return page("Fleet", sections)


def _why(member: Mapping[str, Any]) -> tuple[str, str, str]:
    failure = member["failure"]
    hint = f" ({failure['hint']})" if failure["hint"] else ""
    return member["name"], str(failure["code"]), f"{failure['message']}{hint}"


def _row(member: Mapping[str, Any]) -> Sequence[str]:
    figures = {figure["name"]: figure for figure in member["figures"]}
    limits = ", ".join(f"{name} {limit}" for name, limit in member["limits"].items()) or "none"
    built = member.get("cached", {}).get("built", "")
    state = member["state"] + (f", first built {built}" if built else "")
    told = [_figure(figures[name]) if name in figures else "" for name in _FIGURES]
    return (member["name"], member["target"], limits, *told, member["genotype"], state)


def _figure(figure: Mapping[str, Any]) -> str:
    interval = f" ({number(figure['interval'][0])} to {number(figure['interval'][1])})" if figure["interval"] else ""
    unit = "" if figure["unit"] in ("fraction", "MACs") else f" {figure['unit']}"
    return f"{number(figure['value'])}{unit}{interval}, {figure['evidence']}"


def _report(member: Mapping[str, Any]) -> str:
    """Where the member's own page lies, seen from the fleet's."""
    return f"{member['folder']}/{next(name for name in _REPORTS if name in member['sha256'])}"


def _linked(header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """As `edgekit.report.page.table`; the heading of a row is a link."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row"><a href="{escape(link)}">{escape(first)}</a></th>'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for link, (first, *rest) in rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Built"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
