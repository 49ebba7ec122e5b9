"""`edgekit report` and `edgekit build --eval` as they are typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from edgekit_command import assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode


@pytest.fixture(scope="module")
def labelled(stripes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture of each of two outputs."""
    folder = tmp_path_factory.mktemp("labelled")
    for name in ("red rows", "blue columns"):
        (folder / name).mkdir()
        shutil.copy(stripes[name], folder / name)
    return folder


def test_a_judged_build_tells_its_accuracy_and_its_page_is_written_anew(
    tiny_supernet: Path, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ("--model", tiny_supernet, "--task", "red rows, blue columns", "--eval", labelled)
    built = edgekit_json("build", *asked, "-o", out)
    accuracy = built["figures"][0]
    assert accuracy["name"] == "accuracy"
    assert accuracy["evidence"] == "measured"
    assert sum(map(sum, built["confusion"]["counts"])) == 2
    (out / "report.html").unlink()
    done = edgekit("report", out)
    assert done.stdout.strip() == str(out / "report.html")
    assert "Wilson" in (out / "report.html").read_text()
    assert edgekit("verify", out).returncode == 0


def test_a_class_that_nobody_asked_for_is_bad_input(tiny_supernet: Path, labelled: Path, tmp_path: Path) -> None:
    done = edgekit(
        *(
            "build",
            "--model",
            tiny_supernet,
            "--task",
            "red rows, green rows",
            "--eval",
            labelled,
            "-o",
            tmp_path / "out",
        )
    )
    assert_fails(done, ExitCode.BAD_INPUT, 'no output "blue columns"')
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_record_is_bad_input(tmp_path: Path) -> None:
    assert_fails(edgekit("report", tmp_path), ExitCode.BAD_INPUT, "report.json")


def test_what_clients_learnt_is_not_judged_by_eval(tmp_path: Path) -> None:
    done = edgekit("build", "--from", tmp_path, "--eval", tmp_path, "-o", tmp_path / "out")
    assert_fails(done, ExitCode.USAGE, "--eval")
