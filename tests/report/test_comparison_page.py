"""The page of a comparison: whole, self-contained, and nothing in it that a folder's name could smuggle in."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from edgekit.report.comparison_page import comparison_page, outcome_text

EVIL = '<script>alert("x")</script>'
VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Which tags are open where, and the text of all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def cell(value: float | None, difference: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    plain = {"value": value, "unit": "ms", "evidence": "predicted", "source": "model", "interval": None}
    return {**plain, "difference": difference, **changes}


def told(verdict: str, reason: str = "", percent: float | None = 10.0) -> dict[str, Any]:
    return {"verdict": verdict, "reason": reason, "change": 0.1, "percent": percent}


def record(*rows: dict[str, Any], names: tuple[str, ...] = ("old", "new")) -> dict[str, Any]:
    facts = {"kind": "build", "subject": "stop, yield", "target": "rpi4:tflite-int8", "threads": 4, "made": "ff"}
    return {"builds": [{"folder": name, **facts} for name in names], "rows": list(rows), "conditions": []}


@pytest.fixture
def page() -> str:
    rows = (
        {
            "figure": "latency",
            "cells": [cell(1.0, interval=[0.5, 2.0]), cell(1.1, told("not ranked", "intervals overlap"))],
        },
        {"figure": "accuracy", "cells": [cell(0.9), cell(0.8, told("not comparable", "other labels"))]},
        {"figure": "size", "cells": [cell(100, unit="bytes"), None]},
        {"figure": "MACs", "cells": [cell(0.0), cell(None, told("not comparable", "not a number", None))]},
    )
    return comparison_page(record(*rows, names=("old", EVIL)))


def test_it_is_whole_and_has_no_script_and_no_address(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert "script" not in outline.seen
    assert not re.search(r"(src|href)=|url\(|@import|https?:", page)
    assert EVIL in "".join(outline.text)


def test_every_figure_stands_in_it_with_what_is_to_be_said(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    text = " ".join(outline.text)
    assert "1.1 ms predicted; +10.0 %; not ranked, intervals overlap" in text
    assert "0.8 ms predicted; not comparable, other labels" in text
    assert "100 bytes predicted" in text
    assert "not a number" in text


def test_bars_are_drawn_to_scale_and_not_for_what_is_not_comparable(page: str) -> None:
    latency, accuracy = (found.partition("</figure>")[0] for found in page.split("<figure>")[1:3])
    widths = [float(width) for width in re.findall(r'<rect width="([0-9.]+)"', latency)]
    assert widths == [320, 352]  # of 640, which is the end of the longest interval
    assert '<rect x="160.0" y="5" width="480.0"' in latency
    assert accuracy.count("<svg") == 1
    assert "style=" not in page


def test_scrolling_tables_are_reached_by_keyboard_and_named(page: str) -> None:
    regions = re.findall(r'<div class="scroll"[^>]*>', page)
    names = [re.search(r'aria-label="([^"]+)"', region) for region in regions]
    assert all('tabindex="0"' in region for region in regions)
    assert len({name[1] for name in names if name}) == len(regions) == 2


def test_a_sentence_says_whether_a_condition_holds_and_by_how_much() -> None:
    outcome = {
        "condition": "latency>+5%",
        "folder": "new",
        "holds": True,
        "value": 1.1,
        "first_folder": "old",
        "first": 1.0,
        "limit": 1.05,
        "unit": "ms",
        "remark": "intervals overlap",
    }
    assert outcome_text(outcome) == (
        "latency>+5% holds for new: 1.1 ms, +10 % against 1 ms of old, 0.05 ms beyond the limit of 1.05 ms (intervals overlap)"
    )
    kept = outcome_text({**outcome, "holds": False, "value": 0.9, "first": None, "unit": "fraction", "remark": ""})
    assert kept == "latency>+5% does not hold for new: 0.9, 0.15 within the limit of 1.05"
