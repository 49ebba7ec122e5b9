"""`report.html` of a federated course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.records import write_bytes
from edgekit.report.page import heading, page, paragraph, table
from edgekit.report.plots import Series, line_plot

LAYERS = 8
"""Of the densities, those of the most weights' change."""


def write_federated_page(path: Path, report: Mapping[str, Any]) -> None:
    """From the record of `report.json`."""
    write_bytes(path, federated_page(report).encode())


def federated_page(report: Mapping[str, Any]) -> str:
    rounds = [one for one in report["rounds"] if one["stage"] == "round"]
    parameters = report["weights"] + report["others"]
    sections = [
        paragraph(
            f"{report['kept']:,} of {report['weights']:,} weights are kept, beside {report['others']:,} other parameters, after "
            f"{len(rounds)} rounds."
        ),
        *(paragraph(note) for note in report["notes"]),
        heading("What was reached"),
        table("Figures", ("figure", "value", "evidence"), _figures(report)),
        line_plot(
            "Accuracy on the server's pictures (measured)",
            [_series("accuracy", rounds, "accuracy")],
            x_label="round",
            y_label="accuracy",
            percent=True,
        ),
        line_plot(
            "Mean loss of the clients in training (measured by them)",
            [_series("loss", rounds, "loss")],
            x_label="round",
            y_label="loss",
        ),
        heading("Where the weights are"),
        line_plot("Density of layers", _densities(rounds), x_label="round", y_label="kept share", percent=True),
        heading("What a round costs a client"),
        line_plot(
            "Bytes of a round for one client, both directions (counted), against dense averaging (computed)",
            [
                Series(
                    name="this course",
                    points=[
                        (one["number"], (one["down_bytes"] + one["up_bytes"]) / max(1, len(one["clients"])))
                        for one in rounds
                    ],
                ),
                Series(name="dense", points=[(one["number"], 8.0 * parameters) for one in rounds]),
            ],
            x_label="round",
            y_label="bytes",
        ),
        line_plot(
            "Memory of the client that needs most (predicted)",
            [_series("this course", rounds, "peak_bytes"), _series("dense averaging", rounds, "dense_peak_bytes")],
            x_label="round",
            y_label="bytes",
        ),
        line_plot(
            "Multiplications of all clients of a round (predicted)",
            [
                _series("executed", rounds, "macs"),
                _series("of kept weights (theoretical)", rounds, "kept_macs"),
                _series("dense averaging", rounds, "dense_macs"),
            ],
            x_label="round",
            y_label="MACs",
        ),
        heading("Who was left out"),
        *_left_out(rounds),
        heading("Settings"),
        table("Settings", ("setting", "value"), [(name, str(value)) for name, value in report["settings"].items()]),
    ]
    return page(f"{report['origin']}, learnt by clients", [one for one in sections if one])


def _figures(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    dense = report["dense_traffic_bytes"]
    rows = [
        ("traffic of training", f"{report['traffic_bytes']:,} bytes", "counted"),
        ("the same, dense averaging", f"{dense:,} bytes", "computed"),
    ]
    if report["accuracy"] is not None:
        rows.insert(0, ("accuracy", f"{report['accuracy']:.2%}", "measured, server's pictures"))
    if report["epsilon"] is None:
        rows.append(("differential privacy", "none: no noise was added", "settings"))
    else:
        rows.append(("epsilon of a client", f"{report['epsilon']:.3g} at delta {report['delta']:.1g}", "computed"))
    return rows


def _series(name: str, rounds: Sequence[Mapping[str, Any]], key: str) -> Series:
    return Series(name=name, points=[(one["number"], one[key]) for one in rounds if one[key] is not None])


def _densities(rounds: Sequence[Mapping[str, Any]]) -> list[Series]:
    if not rounds:
        return []
    first, last = rounds[0]["densities"], rounds[-1]["densities"]
    moved = sorted(first, key=lambda name: -abs(last[name] - first[name]))[:LAYERS]
    return [
        Series(name=name, points=[(one["number"], one["densities"][name]) for one in rounds])
        for name in first
        if name in moved
    ]


def _left_out(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [(str(one["number"]), name, reason) for one in rounds for name, reason in sorted(one["left_out"].items())]
    return [table("Left out", ("round", "client", "why"), rows)] if rows else [paragraph("Nobody.")]
