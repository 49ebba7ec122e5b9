"""Build folders held against the first, of every kind, and what is not said of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgekit
from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.passes.judgement import Measure
from edgekit.pipeline.comparison.folder import ComparedBuild, read_folder
from edgekit.pipeline.comparison.likeness import Verdict, difference
from edgekit.pipeline.result import BuildResult

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def changed(int8_build: BuildResult, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of a real build whose record was changed."""

    def copy(change: Change) -> Path:
        folder = tmp_path / f"changed{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        record = json.loads((int8_build.folder / "report.json").read_text())
        change(record)
        (folder / "report.json").write_text(json.dumps(record))
        return folder

    return copy


def figure(record: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in record["figures"] if one["name"] == name]
    return found  # type: ignore[no-any-return]


def scale(name: str, factor: float) -> Change:
    def change(record: dict[str, Any]) -> None:
        one = figure(record, name)
        one["value"] *= factor
        if one["interval"]:
            one["interval"] = [end * factor for end in one["interval"]]

    return change


def test_a_build_against_itself_is_equal_in_all(int8_build: BuildResult) -> None:
    result = edgekit.compare(int8_build.folder, int8_build.folder, fail_on=["latency>+0%", "latency<+0%"])
    assert [row.figure for row in result.rows] == [one.name for one in int8_build.figures]
    for row in result.rows:
        told = result.difference(row.figure)
        assert told is not None
        assert (told.verdict, told.change) == (Verdict.EQUAL, 0)
    assert result.failed == ()


def test_figures_are_those_of_both_reports(int8_build: BuildResult, fp32_build: BuildResult) -> None:
    result = edgekit.compare(int8_build.folder, fp32_build.folder)
    for row in result.rows:
        first, second = row.cells
        assert first is not None
        assert second is not None
        assert (first.quantity, second.quantity) == (int8_build.figure(row.figure), fp32_build.figure(row.figure))
    size = result.difference("size")
    assert size is not None
    assert size.verdict is Verdict.MORE
    smaller, larger = ((one.folder / "model.tflite").stat().st_size for one in (int8_build, fp32_build))
    assert size.percent == pytest.approx(100 * (larger / smaller - 1))
    assert result.difference("MACs").verdict is Verdict.EQUAL  # type: ignore[union-attr]
    with pytest.raises(KeyError):
        result.difference("speed")


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda record: record["plan"].update(target="rpi5:tflite-int8"), "latency", "rpi5 against rpi4"),
        (lambda record: record["plan"].update(target="rpi4:onnx-int8"), "latency", "onnx against tflite"),
        (lambda record: record["plan"].update(threads=1), "latency", "1 threads against 4 threads"),
        (lambda record: figure(record, "latency").update(evidence="measured"), "latency", "measured against predicted"),
        (lambda record: record["labels"].append("one more"), "accuracy", "other labels"),
        (lambda record: figure(record, "size").update(unit="kB"), "size", "kB against bytes"),
    ],
)
def test_what_is_not_of_one_thing_is_not_compared(
    int8_build: BuildResult, changed: Callable[[Change], Path], change: Change, name: str, words: str
) -> None:
    other = changed(change)
    told = edgekit.compare(int8_build.folder, other).difference(name)
    assert told is not None
    assert (told.verdict, told.reason) == (Verdict.NOT_COMPARABLE, words)

    condition = f"{name}>+0%"
    with pytest.raises(BadInputError, match="cannot be decided") as raised:
        edgekit.compare(int8_build.folder, other, fail_on=[condition])
    assert words in raised.value.message
    assert "--allow-unlike" in raised.value.hint
    (outcome,) = edgekit.compare(int8_build.folder, other, fail_on=[condition], allow_unlike=True).outcomes
    assert (outcome.holds, outcome.remark) == (False, words)
    (outcome,) = edgekit.compare(int8_build.folder, other, fail_on=[f"{name}>0"]).outcomes
    assert outcome.holds


def test_counts_are_compared_across_boards_and_runtimes(
    int8_build: BuildResult, changed: Callable[[Change], Path]
) -> None:
    def elsewhere(record: dict[str, Any]) -> None:
        record["plan"]["target"] = "rpi5:onnx-fp32"
        scale("size", 2)(record)

    told = edgekit.compare(int8_build.folder, changed(elsewhere)).difference("size")
    assert told is not None
    assert (told.verdict, told.percent) == (Verdict.MORE, 100)


def test_predictions_whose_intervals_overlap_are_not_ranked_but_a_condition_is_decided(
    int8_build: BuildResult, changed: Callable[[Change], Path]
) -> None:
    slower, slowest = changed(scale("latency", 1.06)), changed(scale("latency", 1e3))
    result = edgekit.compare(int8_build.folder, slower, slowest, fail_on=["latency>+5%"])
    near, far = result.difference("latency", 1), result.difference("latency", 2)
    assert near is not None
    assert far is not None
    assert (near.verdict, near.reason) == (Verdict.NOT_RANKED, "intervals overlap")
    assert near.percent == pytest.approx(6)
    assert far.verdict is Verdict.MORE
    assert [(one.folder, one.remark) for one in result.failed] == [
        (str(slower), "intervals overlap"),
        (str(slowest), ""),
    ]
    first = int8_build.figure("latency").value
    assert result.failed[0].limit == pytest.approx(1.05 * first)
    assert edgekit.compare(int8_build.folder, slower, fail_on=["latency>+7%"]).failed == ()


def test_a_figure_that_one_lacks_never_passes(int8_build: BuildResult, changed: Callable[[Change], Path]) -> None:
    without = changed(lambda record: record["figures"].remove(figure(record, "latency")))
    assert edgekit.compare(int8_build.folder, without).difference("latency") is None
    for order in ((int8_build.folder, without), (without, int8_build.folder)):
        for condition in ("latency>+5%", "latency<-1") if order[0] == without else ("latency>+5%", "latency>5"):
            with pytest.raises(BadInputError, match=f"cannot be decided: {without} has no latency"):
                edgekit.compare(*order, fail_on=[condition], allow_unlike=True)
    with pytest.raises(UsageError, match='no build has a figure "latncy"') as raised:
        edgekit.compare(int8_build.folder, without, fail_on=["latncy>5"])
    assert '"latency"' in raised.value.hint


def test_what_is_no_number_never_passes(int8_build: BuildResult, changed: Callable[[Change], Path]) -> None:
    broken = changed(lambda record: figure(record, "size").update(value=math.nan))
    result = edgekit.compare(int8_build.folder, broken)
    assert result.difference("size").verdict is Verdict.NOT_COMPARABLE  # type: ignore[union-attr]
    json.loads(json.dumps(result.to_json(), allow_nan=False))
    for order in ((int8_build.folder, broken), (broken, int8_build.folder)):
        with pytest.raises(BadInputError, match=f"cannot be decided: size of {broken} is no number"):
            edgekit.compare(*order, fail_on=["size>+5%"], allow_unlike=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("figures"),
        lambda record: record.pop("plan"),
        lambda record: record.update(figures=3),
        lambda record: record.update(plan=[]),
        lambda record: figure(record, "size").update(value="large"),
        lambda record: figure(record, "size").update(value=True),
        lambda record: figure(record, "size").update(evidence="guessed"),
        lambda record: figure(record, "latency").update(value=math.nan),
        lambda record: figure(record, "latency").update(interval=[1]),
        lambda record: record.update(schema_version=99),
    ],
)
def test_a_damaged_record_is_refused_by_name(
    int8_build: BuildResult, changed: Callable[[Change], Path], change: Change
) -> None:
    folder = changed(change)
    with pytest.raises(BadInputError) as raised:
        edgekit.compare(int8_build.folder, folder)
    assert str(folder / "report.json") in raised.value.message
    assert raised.value.hint


def test_what_is_no_build_is_refused(int8_build: BuildResult, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"report\.json"):
        edgekit.compare(int8_build.folder, tmp_path)
    with pytest.raises(UsageError, match="two builds"):
        edgekit.compare(int8_build.folder)


def test_a_page_is_never_replaced_unasked(int8_build: BuildResult, tmp_path: Path) -> None:
    result = edgekit.compare(int8_build.folder, int8_build.folder)
    page = tmp_path / "compare.html"
    page.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        result.write_page(page)
    assert page.read_text() == "mine"
    result.write_page(page, overwrite=True)
    assert page.read_text().startswith("<!doctype html>")


@pytest.fixture(scope="session")
def variants(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("compared") / "variants"
    edgekit.build_variants(task="red rows, blue columns", model=tiny_supernet, variants="0.25,0.32ms", output=output)
    return output


@pytest.fixture(scope="session")
def compression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that nobody trained, on noise."""
    folder = tmp_path_factory.mktemp("compared")
    rng = np.random.default_rng(0)
    np.savez(folder / "noise.npz", x=rng.standard_normal((64, 3, 8, 8)).astype(np.float32))
    edgekit.compress(
        "digit_networks:digit_net",
        input_shape=(3, 8, 8),
        data=folder / "noise.npz",
        passes=["fold::batch_norm"],
        target="rpi4:tflite-fp32",
        output=folder / "out",
    )
    return folder / "out"


def test_several_networks_of_a_build_have_their_names_behind_the_figure(
    int8_build: BuildResult, variants: Path
) -> None:
    told = read_folder(variants)
    record = json.loads((variants / "report.json").read_text())
    assert told.kind == "variants"
    for one in record["variants"]:
        assert one["genotype"] in told.made
        for each in one["figures"]:
            assert told.figures[f"{each['name']}, {one['name']}"].value == each["value"]
    result = edgekit.compare(variants, variants, fail_on=["latency, 0.32ms>0.0001", "latency, 0.25ms>+5%"])
    assert [one.holds for one in result.outcomes] == [True, False]
    with pytest.raises(BadInputError, match="has no latency"):
        edgekit.compare(int8_build.folder, variants, fail_on=["latency>+5%"])


def test_a_compression_is_compared_with_a_build_as_far_as_that_goes(int8_build: BuildResult, compression: Path) -> None:
    result = edgekit.compare(int8_build.folder, compression)
    build, compressed = result.builds
    assert (build.kind, compressed.kind) == ("build", "compression")
    assert (compressed.subject, compressed.made) == ("digit_networks:digit_net", "fold::batch_norm")
    told = {name: result.difference(name) for name in ("size", "MACs", "latency", "accuracy")}
    assert told["size"].verdict is not Verdict.NOT_COMPARABLE  # type: ignore[union-attr]
    assert told["accuracy"] is None
    with pytest.raises(BadInputError, match="has no accuracy"):
        edgekit.compare(int8_build.folder, compression, fail_on=["accuracy<-1%"])


@pytest.mark.slow
def test_an_early_exit_is_compared_with_a_build(int8_build: BuildResult, tiny_supernet: Path, tmp_path: Path) -> None:
    task = "red rows, blue columns, green rows"
    edgekit.build_early_exit(
        early_exit=0.7, task=task, model=tiny_supernet, budget=Budget(macs=Share(fraction=1.0)), output=tmp_path / "out"
    )
    result = edgekit.compare(int8_build.folder, tmp_path / "out", fail_on=["latency>+1000%"])
    assert result.builds[1].kind == "early exit"
    assert {"mean latency", "latency, first", "latency, last"} <= {row.figure for row in result.rows}
    assert result.difference("accuracy").verdict is not Verdict.NOT_COMPARABLE  # type: ignore[union-attr]


def build_with(
    quantity: Quantity, *, name: str = "latency", target: str = "rpi4:tflite-int8", labels: tuple[str, ...] = ("stop",)
) -> ComparedBuild:
    return ComparedBuild(
        folder="out",
        kind="build",
        subject="stop",
        target=target,
        threads=4,
        board="",
        made="ff",
        labels=labels,
        figures={name: quantity},
    )


@pytest.mark.parametrize(
    ("name", "unit", "evidence", "target", "reason"),
    [
        ("latency", "ms", "measured", "rpi4:onnx-fp32", ""),
        ("latency", "ms", "measured", "rpi5:tflite-int8", "rpi5 against rpi4"),
        ("latency", "ms", "predicted", "rpi4:tflite-fp32", ""),
        ("latency", "ms", "predicted", "rpi4:onnx-int8", "onnx against tflite"),
        ("latency, 0.5ms", "ms", "predicted", "rpi5:tflite-int8", "rpi5 against rpi4"),
        ("instructions, total", "instructions", "emulated", "rpi4:onnx-int8", ""),
        ("instructions, total", "instructions", "emulated", "rpi4:tflite-fp32", "fp32 against int8"),
        ("process RAM", "bytes", "measured", "rpi5:tflite-int8", "rpi5 against rpi4"),
        ("size", "bytes", "measured", "rpi5:tvm-fp32", ""),
        ("peak RAM", "bytes", "predicted", "rpi5:tvm-fp32", ""),
    ],
)
def test_what_a_board_does_is_compared_as_far_as_its_evidence_goes(
    name: str, unit: str, evidence: str, target: str, reason: str
) -> None:
    one, two = (
        Quantity(value=value, unit=unit, evidence=Evidence(evidence), source="", interval=(value, value))
        for value in (1.0, 2.0)
    )
    told = difference(name, build_with(one, name=name), build_with(two, name=name, target=target))
    assert (told.verdict, told.reason) == (Verdict.NOT_COMPARABLE if reason else Verdict.MORE, reason)


@pytest.mark.parametrize("name", [*Measure, "accuracy, 0.5ms", "share that leaves early"])
def test_what_is_judged_on_other_labels_is_not_compared(name: str) -> None:
    quantity = Quantity(value=0.9, unit="fraction", evidence=Evidence.MEASURED, source="")
    one, two, other = (
        build_with(quantity, name=name, labels=labels) for labels in (("a", "b"), ("b", "a"), ("a", "c"))
    )
    assert difference(name, one, two).verdict is Verdict.EQUAL
    assert difference(name, one, other).reason == "other labels"


@st.composite
def latencies(draw: st.DrawFn) -> Quantity:
    low, value, high = sorted(draw(st.lists(st.integers(1, 12), min_size=3, max_size=3)))
    return Quantity(value=value, unit="ms", evidence=Evidence.PREDICTED, source="model", interval=(low, high))


@settings(deadline=None)
@given(one=latencies(), two=latencies())
def test_a_rank_is_told_only_where_no_value_would_do_for_both(one: Quantity, two: Quantity) -> None:
    first, other = build_with(one), build_with(two)
    told = difference("latency", first, other)
    (low_one, high_one), (low_two, high_two) = one.interval or (0, 0), two.interval or (0, 0)
    shared = [value for value in range(1, 13) if low_one <= value <= high_one and low_two <= value <= high_two]
    if told.verdict is Verdict.EQUAL:
        assert one == two
    else:
        assert (told.verdict is Verdict.NOT_RANKED) == bool(shared)
    assert told.percent == pytest.approx(100 * (two.value / one.value - 1))
    swapped = {Verdict.MORE: Verdict.LESS, Verdict.LESS: Verdict.MORE}
    assert difference("latency", other, first).verdict is swapped.get(told.verdict, told.verdict)
