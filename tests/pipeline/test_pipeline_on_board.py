"""What a board says of a build: measured on this machine, and kept in the build's report."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from chain_files import write_chain

from edgekit.core.errors import BadInputError, BoardError, UnstableError, UsageError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.devices.target import parse_target
from edgekit.pipeline.calibrate_on_board import calibrate_on_board
from edgekit.pipeline.check import verify
from edgekit.pipeline.on_board import probe, record_in_build
from edgekit.pipeline.profile import profile
from edgekit.pipeline.result import BuildResult, Figure

TARGET = parse_target("rpi4:tflite-int8")


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    return tmp_path / "CONFIG" / "edgekit"


def figure(name: str, value: float, evidence: Evidence, unit: str = "ms") -> Figure:
    interval = (value / 2, value * 2) if unit == "ms" else None
    return Figure(name=name, quantity=Quantity(value=value, unit=unit, evidence=evidence, source="", interval=interval))


MEASURED = (
    figure("latency", 2.0, Evidence.MEASURED),
    figure("latency predicted", 1.0, Evidence.PREDICTED),
    figure("measured / predicted", 2.0, Evidence.MEASURED, "ratio"),
    figure("process RAM", 1e6, Evidence.MEASURED, "bytes"),
)
COUNTED = (
    figure("latency", 1.0, Evidence.PREDICTED),
    figure("instructions, total", 1e6, Evidence.EMULATED, "instructions"),
)


def report(folder: Path) -> dict[str, str]:
    figures = json.loads((folder / "report.json").read_text())["figures"]
    return {one["name"]: one["evidence"] for one in figures}


def test_a_builds_report_tells_what_was_measured_and_is_still_whole(int8_build: BuildResult, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(int8_build.folder, tmp_path / "out"))
    before = report(folder)
    assert before["latency"] == "predicted"

    assert record_in_build(folder, MEASURED, TARGET) == ()
    assert report(folder)["latency"] == "measured"
    assert "What the board took" in (folder / "report.html").read_text()
    assert set(report(folder)) == set(before) | {one.name for one in MEASURED}
    card = (folder / "card.md").read_text()
    assert "| latency | 2 ms | 1 to 4 | measured |" in card
    verify(folder)

    record_in_build(folder, COUNTED, TARGET)  # nothing is left of the measurement
    assert report(folder) == before | {"instructions, total": "emulated"}
    record_in_build(folder, MEASURED[:1], TARGET)
    assert report(folder) == before | {"latency": "measured"}
    verify(folder)


def test_a_build_for_another_target_keeps_its_report(int8_build: BuildResult, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(int8_build.folder, tmp_path / "out"))
    (note,) = record_in_build(folder, MEASURED, parse_target("rk3399:tflite-int8"))
    assert "built for rpi4:tflite-int8" in note
    assert report(folder) == report(int8_build.folder)


def test_this_machine_is_measured_unless_it_is_too_busy(int8_build: BuildResult) -> None:
    with suppress(UnstableError):
        shown = {one.name: one.quantity for one in profile(int8_build.folder / "model.tflite", board="local").figures}
        assert shown["latency"].evidence is Evidence.MEASURED
        assert shown["latency"].interval is not None
        assert "on local" in shown["latency"].source
        assert shown["process RAM"].value > 10 << 20


def test_this_machine_tells_what_it_is() -> None:
    facts = probe("local")
    assert facts.runtime.startswith("ai-edge-litert")
    assert facts.free_bytes > 0


def test_a_target_that_is_not_the_boards_is_refused(int8_build: BuildResult) -> None:
    with pytest.raises(UsageError, match="local is a host, not a rpi4"):
        profile(int8_build.folder, "rpi4", board="local")
    with pytest.raises(UsageError, match="neither a target nor a board"):
        profile(int8_build.folder)


@pytest.mark.parametrize("budget", [9, 51])
def test_a_budget_that_is_refused_leaves_nothing_behind(user: Path, budget: int) -> None:
    with pytest.raises(UsageError):
        calibrate_on_board("mine", "local", budget=budget)
    assert not (user / "devices").exists()


def test_an_unfinished_calibration_goes_on_with_the_same_settings_alone(user: Path) -> None:
    work = user / "devices" / ".mine.calibrating"
    work.mkdir(parents=True)
    settings = {"board": "local", "like": "host", "budget": 12, "threads": 1, "seed": 0, "schema_version": 1}
    (work / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="budget 12"):
        calibrate_on_board("mine", "local", budget=10)


def started(user: Path, *, runtime: str, table: str = "file,p50_ms,runtime\n") -> Path:
    """A calibration whose probes are made."""
    work = user / "devices" / ".mine.calibrating"
    settings = {"board": "local", "like": "host", "budget": 10, "threads": 1, "seed": 0, "schema_version": 1}
    for precision in ("int8", "fp32"):
        (work / precision).mkdir(parents=True)
        write_chain(work / precision / "probe-01.tflite", size=32, channels=(3, 16, 16))
        probes = [{"file": "probe-01.tflite", "genotype": "", "macs": 1}]
        (work / f"{precision}.json").write_text(json.dumps({"schema_version": 1, "probes": probes}))
    (work / "settings.json").write_text(json.dumps(settings))
    row = f"int8/probe-01.tflite,1.5,{runtime}\n" if runtime else ""
    (work / "measurements.csv").write_text(table + row)
    return work


def test_rows_of_two_runtimes_make_no_cost_model(user: Path) -> None:
    work = started(user, runtime="tflite-runtime 2.14.0")
    with pytest.raises((BoardError, UnstableError), match=r"ran tflite-runtime 2\.14\.0|is refused"):
        calibrate_on_board("mine", "local", budget=10)
    assert (work / "measurements.csv").read_text().count("1.5,tflite-runtime 2.14.0") == 1


def test_a_damaged_table_is_named(user: Path) -> None:
    work = started(user, runtime="", table="file,p50_ms\n1,2\n")
    with pytest.raises(BadInputError, match=r"measurements\.csv is damaged") as raised:
        calibrate_on_board("mine", "local", budget=10)
    assert str(work) in raised.value.hint


@pytest.mark.parametrize("key", ["plan", "figures", "sha256"])
def test_a_damaged_report_is_named_and_nothing_is_written(int8_build: BuildResult, tmp_path: Path, key: str) -> None:
    folder = Path(shutil.copytree(int8_build.folder, tmp_path / "out"))
    record = json.loads((folder / "report.json").read_text())
    del record[key]
    (folder / "report.json").write_text(json.dumps(record))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(BadInputError, match=f"lacks '{key}'"):
        record_in_build(folder, MEASURED, TARGET)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
