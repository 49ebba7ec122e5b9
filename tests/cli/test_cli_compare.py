"""`edgekit compare`: what it prints, the page that it writes, and how it ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from edgekit_command import COMMAND, ENVIRONMENT, assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode

HOLDS = 1


@pytest.fixture(scope="session")
def two(built: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A real build, and its record with a file that is 10 % larger."""
    folders = Path(built["folder"]), tmp_path_factory.mktemp("compared") / "larger"
    record = json.loads((folders[0] / "report.json").read_text())
    for figure in record["figures"]:
        if figure["name"] == "size":
            figure["value"] *= 1.1
    folders[1].mkdir()
    (folders[1] / "report.json").write_text(json.dumps(record))
    return folders


def test_a_table_has_a_column_for_each_build(two: tuple[Path, Path]) -> None:
    done = edgekit("compare", *two)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["figure", "unit", "evidence", *map(str, two)]
    (size,) = [row for row in rows if row.startswith("size  ")]
    assert size.endswith("+10.0 %")
    assert "bytes" in size
    (latency,) = [row for row in rows if row.startswith("latency")]
    assert "predicted" in latency
    assert "\x1b" not in done.stdout


def test_json_is_one_object_with_every_figure(two: tuple[Path, Path], built: dict[str, Any]) -> None:
    record = edgekit_json("compare", *two)
    assert [row["figure"] for row in record["rows"]] == [figure["name"] for figure in built["figures"]]
    (size,) = [row for row in record["rows"] if row["figure"] == "size"]
    assert size["cells"][0]["difference"] is None
    assert size["cells"][1]["difference"]["percent"] == pytest.approx(10)
    assert size["cells"][1]["difference"]["verdict"] == "more"
    assert [build["folder"] for build in record["builds"]] == [str(folder) for folder in two]
    assert (record["failed"], record["conditions"]) == (False, [])


def test_a_condition_that_holds_ends_with_1_and_says_by_how_much(two: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "compare.html"
    conditions = ("--fail-on", "size>+5%", "--fail-on", "latency>+5%", "-o", page)
    done = edgekit("compare", *two, *conditions)
    assert_fails(done, HOLDS, f"size>+5% holds for {two[1]}", "+10 % against")
    assert "latency" not in done.stderr
    assert "bug" not in done.stderr
    assert done.stdout.startswith("figure")
    assert "latency>+5% does not hold" in done.stdout
    assert "size&gt;+5% holds" in page.read_text()

    done = edgekit("compare", *two, *conditions, "--overwrite", "--json")
    record = json.loads(done.stdout)
    assert done.returncode == HOLDS
    assert record["failed"] is True
    assert [one["holds"] for one in record["conditions"]] == [True, False]
    assert edgekit("compare", *two[::-1], "--fail-on", "size>+0%").returncode == ExitCode.OK


def test_the_exit_code_tells_also_where_nobody_reads(two: tuple[Path, Path]) -> None:
    command = [*COMMAND, "compare", *map(str, two), "--fail-on", "size>+5%"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert "size>+5% holds" in running.stderr.read()
        assert running.wait(timeout=60) == HOLDS


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--fail-on", "size=5"), ExitCode.USAGE, ("is no condition",)),
        (("--fail-on", "size>5%"), ExitCode.USAGE, ("size>+5%",)),
        (("--fail-on", "sise>5"), ExitCode.USAGE, ('did you mean "size',)),
        (("none",), ExitCode.BAD_INPUT, ("none/report.json",)),
        (("-o", "/dev/null/page.html"), ExitCode.BAD_INPUT, ("cannot write",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_compared_says_why(
    two: tuple[Path, Path], arguments: tuple[str, ...], code: ExitCode, words: tuple[str, ...]
) -> None:
    assert_fails(edgekit("compare", *two, *arguments), code, *words)


def test_a_condition_that_cannot_be_decided_is_an_error_and_writes_nothing(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    record = json.loads((two[0] / "report.json").read_text())
    record["figures"] = [figure for figure in record["figures"] if figure["name"] != "latency"]
    (tmp_path / "less").mkdir()
    (tmp_path / "less" / "report.json").write_text(json.dumps(record))
    page = tmp_path / "compare.html"
    done = edgekit("compare", two[0], tmp_path / "less", "--fail-on", "latency>+5%", "-o", page)
    assert_fails(done, ExitCode.BAD_INPUT, "cannot be decided", "has no latency")
    assert not page.exists()


def test_one_build_is_no_comparison(two: tuple[Path, Path]) -> None:
    assert_fails(edgekit("compare", two[0]), ExitCode.USAGE, "two builds")
    assert_fails(edgekit("compare"), ExitCode.USAGE, "OUT")
