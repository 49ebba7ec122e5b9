"""The card of a build, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.report.card import write_card

MODEL_CARD = {"data": "Stripes, drawn", "licence": "Apache-2.0."}


def report(**changes: Any) -> dict[str, Any]:
    return {
        "plan": {
            "task": {"text": "stop, yield", "kind": "classify"},
            "budget": {"latency_ms": 1.0, "macs": "25%"},
            "target": "rpi4:tflite-int8",
            "threads": 4,
            "model": "signs43",
            "calibration": "the supernet's synthesised pictures",
        },
        "genotype": "ff.01",
        "labels": ["stop", "yield"],
        "figures": [
            {
                "name": "latency",
                "value": 0.98765,
                "unit": "ms",
                "evidence": "predicted",
                "source": "cost model",
                "interval": [0.5, 1.5],
            },
            {
                "name": "size",
                "value": 61234,
                "unit": "bytes",
                "evidence": "measured",
                "source": "counted in model.tflite",
                "interval": None,
            },
        ],
        "verification": {
            "slice_difference": 1.2e-7,
            "notes": ["The file changes the layout of tensors."],
            "checks": [{"name": "MACs", "value": 123456, "relation": "==", "limit": 123456, "detail": ""}],
        },
    } | changes


@pytest.fixture
def card(tmp_path: Path) -> str:
    write_card(tmp_path / "card.md", report(), model_card=MODEL_CARD)
    return (tmp_path / "card.md").read_text()


def test_it_says_what_was_asked(card: str) -> None:
    assert card.startswith("# stop, yield\n")
    assert "outputs: stop, yield" in card
    assert "- Budget: latency_ms 1.0, macs 25%" in card
    assert "`rpi4:tflite-int8` (4 threads)" in card


def test_every_figure_is_a_row_with_its_evidence(card: str) -> None:
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert rows[0] == "| figure | value | interval | evidence | source |"
    assert rows[2:] == [
        "| latency | 0.9877 ms | 0.5 to 1.5 | predicted | cost model |",
        "| size | 61,234 bytes |  | measured | counted in model.tflite |",
    ]
    assert len({row.count("|") for row in rows}) == 1


def test_it_lists_the_checks_and_where_the_data_comes_from(card: str) -> None:
    assert "- MACs: 123,456, must be == 123,456\n" in card
    assert "differs from the gated supernet by at most 1.2e-07" in card
    assert "Stripes, drawn. Apache-2.0." in card
    assert "\nThe file changes the layout of tensors.\n" in card
    assert "edgekit verify" in card


def test_no_budget_is_said_so(tmp_path: Path) -> None:
    without = report(plan=report()["plan"] | {"budget": {}})
    write_card(tmp_path / "card.md", without, model_card=MODEL_CARD)
    assert "- Budget: none" in (tmp_path / "card.md").read_text()
