"""Every page says what its record says, and whatever a record says stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.report.front_plot import HEIGHT, WIDTH, front_plot
from edgekit.report.pages import PAGE, page_of

KINDS = ("build", "own classes", "variants", "early exit", "compression", "federated")
EVIL = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'",
    "a & b",
    "🚦",
    "‮קוד",
    "<!--",
    "]]>",
)
MAX_BYTES = 1_000_000
Records = Mapping[str, Mapping[str, Any]]

VOID = {"meta", "rect", "line", "circle", "path", "polyline", "br", "input"}
TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "script",
    "body",
    "main",
    "section",
    "nav",
    "ul",
    "li",
    "a",
    "p",
    "div",
}
TAGS |= {"span", "small", "h1", "h2", "h3", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "details"}
TAGS |= {"summary", "figure", "figcaption", "svg", "g", "text", "rect", "line", "circle", "path", "polyline", "pre"}
TAGS |= {"code", "button"}


class Parsed(HTMLParser):
    """Texts, tags and attributes; raises where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self._open and "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


@pytest.fixture(params=KINDS)
def record(request: pytest.FixtureRequest, records: Records) -> Mapping[str, Any]:
    return records[request.param]


def test_a_page_is_small_whole_and_loads_nothing(record: Mapping[str, Any]) -> None:
    html = page_of(record)
    page = Parsed(html)
    assert len(html.encode()) < MAX_BYTES
    assert page.tags <= TAGS
    assert len(page.ids) == len(set(page.ids))
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style", "srcset")]
    targets = [value for name, value in page.attributes if name == "href"]
    assert all(target.removeprefix("#") in page.ids for target in targets)
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_every_figure_stands_there_with_its_evidence_and_source(records: Records) -> None:
    for kind in set(KINDS) - {"federated"}:
        page = Parsed(page_of(records[kind]))
        for figure in records[kind]["figures"]:
            assert figure["name"] in page.texts
            assert figure["evidence"] in page.texts
            assert figure["source"] in page.texts


def test_a_build_shows_how_it_came_about_and_what_else_there_is(records: Records) -> None:
    built = records["build"]
    page = Parsed(page_of(built))
    assert [step["name"] for step in built["waterfall"]] == ["full supernet", "slice", "int8"]
    for step in built["waterfall"]:
        assert step["name"] in page.texts
    for point in built["front"]:
        assert point["command"] in page.texts
        assert any(text.startswith(point["genotype"]) for text in page.texts)
    assert f"{built['genotype']} (built)" in page.texts
    for check in built["verification"]["checks"]:
        assert check["name"] in page.texts
    assert "edgekit verify" in page.text
    assert "run.py" in page.text


def test_a_compression_shows_what_was_rolled_back_and_how_to_apply_a_trial(records: Records) -> None:
    page = Parsed(page_of(records["compression"]))
    assert "rolled back" in page.texts
    assert any(
        re.fullmatch(
            r"edgekit compress nets:digits .*--pass prune::channels,macs_share=0.6 --pass train::distil --pass quant::int8.*",
            text,
        )
        for text in page.texts
    )


def test_a_page_is_a_function_of_the_record_alone(judged_build: Path) -> None:
    record = json.loads((judged_build / "report.json").read_text())
    assert page_of(record) == (judged_build / PAGE).read_text()


def replaced(value: Any, old: str, new: str) -> Any:
    """Wherever it stands in a record, keys aside."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [replaced(one, old, new) for one in value]
    if isinstance(value, dict):
        return {name: replaced(one, old, new) for name, one in value.items()}
    return value


HOSTILE = st.one_of(
    st.sampled_from(EVIL),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40),
)


def test_mistakes_among_many_labels_are_listed_the_most_frequent_first(records: Records) -> None:
    labels = [f"thing {number}" for number in range(200)]
    counts = [[5 * (true == given) for given in range(200)] for true in range(200)]
    counts[7][9], counts[3][4] = 4, 2
    html = page_of(records["build"] | {"confusion": {"labels": labels, "counts": counts}})
    assert len(html.encode()) < MAX_BYTES
    texts = Parsed(html).texts
    first = texts.index("The most frequent mistakes:")
    told = [text for text in texts[first:] if text.startswith("thing")][:4]
    assert told == ["thing 7", "thing 9", "thing 3", "thing 4"]


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1)), min_size=1, max_size=30))
def test_every_point_of_a_front_lies_inside_its_plot(pairs: list[tuple[float, float]]) -> None:
    points = [
        {
            "name": str(number),
            "figures": [_figure("latency", latency, "ms"), _figure("accuracy", accuracy, "fraction")],
            "command": "edgekit",
        }
        for number, (latency, accuracy) in enumerate(sorted(pairs))
    ]
    places = re.findall(r"translate\(([-\d.]+) ([-\d.]+)\)", front_plot("t", points, ["0"], limit_ms=1.0))
    assert len(places) == len(pairs)
    for x, y in places:
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= HEIGHT


def _figure(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "evidence": "predicted", "source": "", "interval": None}


FEW = settings(max_examples=30, deadline=None)


@FEW
@given(label=HOSTILE, kind=st.sampled_from(("build", "own classes", "variants")))
def test_hostile_labels_are_shown_as_text(records: Records, label: str, kind: str) -> None:
    record = replaced(dict(records[kind]), "red rows", label)
    page = Parsed(page_of(record))
    assert page.tags <= TAGS
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert label in page.text


@FEW
@given(said=HOSTILE)
def test_hostile_sources_notes_and_folders_are_shown_as_text(records: Records, said: str) -> None:
    for kind, word in (("compression", "nets:digits"), ("own classes", "no linker"), ("federated", "does not answer")):
        page = Parsed(page_of(replaced(dict(records[kind]), word, said)))
        assert page.tags <= TAGS
        assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
        assert said in page.text
