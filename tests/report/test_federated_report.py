"""The page and the card of a course: figures with their evidence, and nothing that a client could make of them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from course_records import course_record, round_
from hypothesis import given
from hypothesis import strategies as st

from edgekit.report.federated_card import write_federated_card
from edgekit.report.federated_page import write_federated_page
from edgekit.report.plots import Series, line_plot, nice_ticks

EVIL = '<script>alert(1)</script> "x" | <img src=x onerror=y>'


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += [tag, *(f"{tag}@{name}" for name, _ in attrs)]


def page_of(tmp_path: Path, record: dict[str, object]) -> str:
    write_federated_page(tmp_path / "report.html", record)
    return (tmp_path / "report.html").read_text()


def test_the_page_says_what_was_reached_with_its_evidence(tmp_path: Path) -> None:
    page = page_of(tmp_path, course_record())
    for words in ("52.00%", "measured", "5,700 bytes", "counted", "48,960 bytes", "computed", "no noise was added"):
        assert words in page
    assert "epsilon" not in page


def test_epsilon_stands_in_page_and_card(tmp_path: Path) -> None:
    record = course_record(epsilon=7.93, delta=1e-5)
    write_federated_card(tmp_path / "card.md", record)
    for text in (page_of(tmp_path, record), (tmp_path / "card.md").read_text()):
        assert "7.93" in text
        assert "1e-05" in text


def test_a_client_cannot_write_into_the_page(tmp_path: Path) -> None:
    rounds = [round_(0, left_out={EVIL: EVIL}), round_(1)]
    tags = Tags()
    tags.feed(page_of(tmp_path, course_record(rounds=rounds, notes=[EVIL], origin=EVIL)))
    assert "script" not in tags.seen
    assert "img" not in tags.seen
    assert not any(re.search("@on|@src|@href", one) for one in tags.seen)


@pytest.mark.parametrize("rounds", [[], [round_(0)], [round_(0, accuracy=None), round_(1, accuracy=None)]])
def test_a_course_without_rounds_or_accuracy_has_a_page_too(tmp_path: Path, rounds: list[dict[str, object]]) -> None:
    record = course_record(rounds=rounds, accuracy=None)
    assert "</html>" in page_of(tmp_path, record)
    write_federated_card(tmp_path / "card.md", record)
    assert "not judged" in (tmp_path / "card.md").read_text()


POINTS = st.lists(st.tuples(st.integers(0, 1000), st.floats(-1e12, 1e12)), min_size=1, max_size=20)


@given(st.lists(POINTS, min_size=1, max_size=5))
def test_every_point_lies_inside_the_plot(lines: list[list[tuple[float, float]]]) -> None:
    text = line_plot(
        "t", [Series(name=f"s{n}", points=sorted(one)) for n, one in enumerate(lines)], x_label="x", y_label="y"
    )
    figure = ElementTree.fromstring(text)  # noqa: S314 (our own)
    drawn = [one.attrib["points"] for one in figure.iter("polyline")]
    assert len(drawn) == len(lines)
    for points in drawn:
        for x, y in (map(float, point.split(",")) for point in points.split()):
            assert 0 <= x <= 640
            assert 0 <= y <= 280


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_ticks_are_few_even_and_around_the_values(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    slack = 1e-6 * max(abs(low), span, 1e-9)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 8


def test_nothing_to_draw_is_no_plot() -> None:
    assert line_plot("t", [Series(name="a", points=[])], x_label="x", y_label="y") == ""
