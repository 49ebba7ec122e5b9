"""`card.md` of a build: what was asked, what came out, and how anybody can check it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.records import write_bytes


def write_card(path: Path, report: Mapping[str, Any], *, model_card: Mapping[str, Any]) -> None:
    """From the record of `report.json` and the supernet's card."""
    plan = report["plan"]
    budget = ", ".join(f"{name} {limit}" for name, limit in plan["budget"].items()) or "none"
    lines = [
        f"# {plan['task']['text']}",
        "",
        f"A network for `{plan['target']}` ({plan['threads']} threads), assembled from the supernet `{plan['model']}`, "
        f"genotype `{report['genotype']}`.",
        "",
        f"- Task: {plan['task']['kind']}; outputs: {', '.join(report['labels'])}",
        f"- Budget: {budget}",
        f"- Quantizer calibrated with: {plan['calibration']}",
        "",
        "| figure | value | interval | evidence | source |",
        "|---|---|---|---|---|",
        *(_row(figure) for figure in report["figures"]),
        "",
        "## Checks passed",
        *(f"- {_check(check)}" for check in report["verification"]["checks"]),
        f"- the sliced network differs from the gated supernet by at most "
        f"{report['verification']['slice_difference']:.2g}",
        "",
        "Repeat them with `edgekit verify` on this folder.",
        "",
        "## Data behind the supernet",
        f"{model_card['data']}. {model_card['licence']}",
        "",
    ]
    write_bytes(path, "\n".join(lines).encode())


def _row(figure: Mapping[str, Any]) -> str:
    interval = f"{_number(figure['interval'][0])} to {_number(figure['interval'][1])}" if figure["interval"] else ""
    value = f"{_number(figure['value'])} {figure['unit']}"
    return f"| {figure['name']} | {value} | {interval} | {figure['evidence']} | {figure['source']} |"


def _check(check: Mapping[str, Any]) -> str:
    detail = f" ({check['detail']})" if check["detail"] else ""
    return f"{check['name']}: {_number(check['value'])}, must be {check['relation']} {_number(check['limit'])}{detail}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
