"""`card.md` of a compression: what each pass bought and cost, and how anybody can check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.records import write_bytes
from edgekit.report.card import check_text, figure_row, number


def write_compression_card(path: Path, report: Mapping[str, Any]) -> None:
    """From the record of `report.json`."""
    plan = report["plan"]
    judged = report["judgement"]
    lines = [
        f"# {plan['source']}, compressed",
        "",
        f"For `{plan['target']}` ({plan['threads']} threads). The file loses {report['drop_points']:.2f} points of "
        f"{judged['measure']} on {judged['samples']} evaluation inputs.",
        "",
        *(f"- {note}" for note in report["notes"]),
        "",
        "## What each pass bought and cost",
        "",
        "Predicted sizes and latencies; accuracy or agreement measured in torch on the evaluation inputs.",
        "",
        "| after | parameters | not zero | MACs | bytes | ms on the target | judged | points lost |",
        "|---|---|---|---|---|---|---|---|",
        *_steps(report["rows"]),
        "",
        *(f"- {row['step']}: {note}" for row in report["rows"] for note in row["notes"]),
        "",
        "## The file",
        "",
        "| figure | value | interval | evidence | source |",
        "|---|---|---|---|---|",
        *(figure_row(figure) for figure in report["figures"]),
        "",
        *_layers(report["rows"]),
        *_trials(report["trials"], report["refusals"]),
        "## Checks passed",
        *(f"- {check_text(check)}" for check in report["verification"]["checks"]),
        "",
        "Repeat them with `edgekit verify` on this folder.",
        "",
    ]
    write_bytes(path, "\n".join(lines).encode())


def _steps(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    first = rows[0]["judgement"]["value"]
    return [
        f"| {row['step']} | {row['parameters']:,} | {row['nonzeros']:,} | {row['macs']:,} | {row['size_bytes']:,.0f} | "
        f"{number(row['latency']['value'])} | {row['judgement']['value']:.4f} | "
        f"{100 * (first - row['judgement']['value']):.2f} |"
        for row in rows
    ]


def _layers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        if not row["layers"]:
            continue
        columns = list(dict.fromkeys(key for layer in row["layers"] for key in layer))
        lines += [f"### {row['step']}, layer by layer", ""]
        lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(_cell(layer.get(key, "")) for key in columns) + " |" for layer in row["layers"]]
        lines += [""]
    return lines


def _cell(value: object) -> str:
    return number(value) if isinstance(value, (int, float)) else str(value)


def _trials(trials: Sequence[Mapping[str, Any]], refusals: Mapping[str, str]) -> list[str]:
    if not trials:
        return []
    return [
        "## What the search tried",
        "",
        "Judged on inputs that are in no other set. Kept: within the part of the floor that structure may use.",
        "",
        "| trial | from | passes added | MACs | ms on the target | points lost | kept |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {count} | {one['start']} | {one['added']} | {one['macs']:,} | {number(one['latency_ms'])} | "
            f"{one['drop_points']:.2f} | {'yes' if one['kept'] else 'no'} |"
            for count, one in enumerate(trials, 1)
        ),
        "",
        *(f"- {name} could not be applied: {why}" for name, why in refusals.items()),
        "",
    ]
