"""Labelled pictures: the accuracy of the very file, with what was taken for what."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_supernet import LABELS, draw

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError
from edgekit.core.quantity import Evidence
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.plan import plan
from edgekit.pipeline.predict import predict
from edgekit.pipeline.report import report
from edgekit.pipeline.result import BuildResult

OUTPUTS = ("red rows", "green rows", "blue columns")
TASK = "red rows, blue columns, green rows"
EACH = 6


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of each output, of which two show another label than they are filed under."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(3)
    for name in OUTPUTS:
        (folder / name).mkdir()
        for number in range(EACH):
            shown = "blue columns" if name == "red rows" and number < 2 else name
            Image.fromarray(draw(LABELS.index(shown), rng, size=40)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def judged(tiny_supernet: Path, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    return build(
        task=TASK,
        model=tiny_supernet,
        budget=Budget(macs=Share(fraction=0.5)),
        evaluation=labelled,
        output=tmp_path_factory.mktemp("judged") / "out",
    )


def test_the_file_answers_as_predict_says(judged: BuildResult, labelled: Path) -> None:
    """Counted by hand from what `edgekit predict` answers to the same pictures."""
    pictures = sorted(labelled.rglob("*.png"))
    counts = [[0] * len(OUTPUTS) for _ in OUTPUTS]
    for picture, answer in zip(pictures, predict(judged.folder, pictures), strict=True):
        counts[OUTPUTS.index(picture.parent.name)][OUTPUTS.index(answer.label)] += 1
    assert judged.confusion is not None
    assert judged.confusion.labels == OUTPUTS
    assert [list(row) for row in judged.confusion.counts] == counts
    assert counts[0][2] >= 1, "the pictures that are filed wrongly are taken for what they show"
    right = sum(counts[index][index] for index in range(len(OUTPUTS)))
    accuracy = judged.figure("accuracy")
    assert accuracy.value == pytest.approx(right / len(pictures))
    assert accuracy.evidence is Evidence.MEASURED
    assert accuracy.interval is not None
    low, high = accuracy.interval
    assert low < accuracy.value < high
    assert judged.figure("accuracy predicted").evidence is Evidence.PREDICTED


def test_every_step_is_judged_on_them_too(judged: BuildResult) -> None:
    record = json.loads((judged.folder / "report.json").read_text())
    for step in record["waterfall"]:
        accuracy = {figure["name"]: figure for figure in step["figures"]}["accuracy"]
        assert accuracy["evidence"] == "measured"
    assert record["confusion"]["labels"] == list(OUTPUTS)
    assert record["plan"]["evaluation"]["pictures"] == EACH * len(OUTPUTS)


def test_the_page_is_written_anew_and_the_folder_still_verifies(judged: BuildResult, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(judged.folder, copy)
    page = (copy / "report.html").read_text()
    (copy / "report.html").write_text("lost")
    assert report(copy) == copy / "report.html"
    assert (copy / "report.html").read_text() == page
    verify(copy)


def test_a_folder_of_an_older_edgekit_is_told_so(judged: BuildResult, tmp_path: Path) -> None:
    record = json.loads((judged.folder / "report.json").read_text())
    del record["waterfall"]
    (tmp_path / "report.json").write_text(json.dumps(record))
    with pytest.raises(BadInputError, match="lacks what a page tells"):
        report(tmp_path)


def test_a_class_that_is_no_output_is_named_with_the_nearest(
    tiny_supernet: Path, labelled: Path, tmp_path: Path
) -> None:
    wrong = Path(shutil.copytree(labelled, tmp_path / "wrong"))
    (wrong / "red rows").rename(wrong / "red row")
    with pytest.raises(BadInputError, match='no output "red row"') as caught:
        plan(task=TASK, model=tiny_supernet, evaluation=wrong)
    assert "red rows" in str(caught.value.hint)


def test_pictures_outside_a_class_are_refused(tiny_supernet: Path, labelled: Path, tmp_path: Path) -> None:
    shutil.copy(labelled / "red rows" / "0.png", tmp_path / "stray.png")
    with pytest.raises(BadInputError, match="no class"):
        plan(task=TASK, model=tiny_supernet, evaluation=tmp_path)


def test_an_output_may_have_no_pictures(tiny_supernet: Path, labelled: Path, tmp_path: Path) -> None:
    some = Path(shutil.copytree(labelled, tmp_path / "some"))
    shutil.rmtree(some / "green rows")
    planned = plan(task=TASK, model=tiny_supernet, evaluation=some)
    assert planned.evaluation is not None
    assert len(planned.evaluation.paths) == 2 * EACH
