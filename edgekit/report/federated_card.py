"""`card.md` of a federated course: what was learnt, by whom, and what it cost the clients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.records import write_bytes

_ROWS = 40
"""At most, so that a long course stays readable."""


def write_federated_card(path: Path, report: Mapping[str, Any]) -> None:
    """From the record of `report.json`."""
    settings, rounds = report["settings"], report["rounds"]
    accuracy = "not judged: the server had no pictures" if report["accuracy"] is None else f"{report['accuracy']:.2%}"
    dense = report["dense_traffic_bytes"]
    lines = [
        f"# {report['origin']}, learnt by clients",
        "",
        f"{report['kept']:,} of {report['weights']:,} weights are kept ({report['kept'] / report['weights']:.2%}), beside "
        f"{report['others']:,} other parameters. Accuracy on the server's pictures (measured): {accuracy}.",
        "",
        *(f"- {note}" for note in report["notes"]),
        f"- Traffic (counted): {report['traffic_bytes']:,} bytes in the rounds of training, "
        f"{_less(report['traffic_bytes'], dense)} than the {dense:,} of dense federated averaging (computed).",
        f"- {_privacy(report)}",
        "",
        "## Settings",
        "",
        *(f"- {name}: {value}" for name, value in settings.items()),
        "",
        "## Rounds",
        "",
        "Accuracy is measured on the server's pictures, bytes are counted; MACs and the largest client's memory are predicted.",
        "",
        "| round | clients | left out | loss | accuracy | bytes down | bytes up | MACs | peak bytes | exchanged |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(one) for one in rounds[:: max(1, -(-len(rounds) // _ROWS))]),
        "",
        *_left_out(rounds),
    ]
    write_bytes(path, "\n".join(lines).encode())


def _less(value: float, dense: float) -> str:
    return f"{1 - value / dense:.1%} less" if value <= dense else f"{value / dense - 1:.1%} more"


def _privacy(report: Mapping[str, Any]) -> str:
    if report["epsilon"] is None:
        return "No noise was added: there is no guarantee of differential privacy."
    return f"Differential privacy of each client: epsilon {report['epsilon']:.3g} at delta {report['delta']:.1g} (computed)."


def _row(one: Mapping[str, Any]) -> str:
    accuracy = _or_blank(one["accuracy"], ".2%")
    return (
        f"| {one['number']} {one['stage'] if one['stage'] != 'round' else ''} | {len(one['clients'])} | "
        f"{len(one['left_out'])} | {_or_blank(one['loss'], '.4f')} | {accuracy} | {one['down_bytes']:,} | {one['up_bytes']:,} | "
        f"{_or_blank(one['macs'], ',')} | {_or_blank(one['peak_bytes'], ',')} | {one['exchanged']} |"
    )


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _left_out(rounds: list[Mapping[str, Any]]) -> list[str]:
    rows = [
        f"- round {one['number']}, {name}: {reason}"
        for one in rounds
        for name, reason in sorted(one["left_out"].items())
    ]
    if not rows:
        return []
    more = [f"- and {len(rows) - _ROWS} more in report.json"] if len(rows) > _ROWS else []
    return ["## Left out", "", *rows[:_ROWS], *more, ""]
