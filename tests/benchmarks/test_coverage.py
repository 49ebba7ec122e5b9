"""The table of the manual is the one of the record, and speaks of all bricks and passes that there are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from coverage import BEGIN, COLUMNS, END, MANUAL, with_tables
from harness import REPO_ROOT

from edgekit.passes.registry import pass_ids
from edgekit.supernet.spec import BlockKind


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((REPO_ROOT / "benchmarks" / "results" / "coverage.json").read_text("utf-8"))
    return dict(record["figures"])


def test_the_manual_says_what_the_record_says(figures: dict[str, Any]) -> None:
    manual = MANUAL.read_text("utf-8")
    assert with_tables(manual, figures) == manual
    assert manual.count(BEGIN) == manual.count(END) == 1


def test_another_record_makes_another_page_and_leaves_the_text_around_it() -> None:
    cells = {f"{runtime}-{precision}": {"verdict": "refused", "why": "it is new"} for runtime, precision in COLUMNS}
    page = with_tables(MANUAL.read_text("utf-8"), {"groups": {"Layers": {"something new": cells}}})
    assert "| something new | refused (1) |" in page
    assert "1. it is new" in page
    assert page.startswith(MANUAL.read_text("utf-8").partition(BEGIN)[0])


def test_every_brick_and_every_pass_has_its_row_and_nothing_is_wrong(figures: dict[str, Any]) -> None:
    groups = figures["groups"]
    assert set(groups["Passes"]) == set(pass_ids())
    assert set(groups["Bricks"]) >= set(map(str, BlockKind))
    cells = [cell for rows in groups.values() for row in rows.values() for cell in row.values()]
    assert "wrong" not in {cell["verdict"] for cell in cells}
