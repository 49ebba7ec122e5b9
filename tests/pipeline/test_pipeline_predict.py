"""The exported file answers for pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.core.errors import BadInputError
from edgekit.pipeline.predict import predict
from edgekit.pipeline.result import BuildResult

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.png"))


def test_stripes_are_recognised(built: BuildResult, stripes: dict[str, Path]) -> None:
    found = predict(built.folder, [stripes[label] for label in built.labels])
    assert [prediction.label for prediction in found] == list(built.labels)
    assert all(prediction.probability > 0.5 for prediction in found)


def test_every_example_gets_an_answer(built: BuildResult) -> None:
    assert EXAMPLES
    found = predict(built.folder, EXAMPLES)
    assert [prediction.file for prediction in found] == [str(path) for path in EXAMPLES]
    for prediction in found:
        assert prediction.label in built.labels
        assert 1 / 3 - 0.01 <= prediction.probability <= 1, "the likeliest of three"
        assert prediction.ms > 0
        assert set(prediction.to_json()) == {"file", "label", "probability", "ms"}


def test_the_file_alone_is_enough(int8_build: BuildResult, tmp_path: Path) -> None:
    alone = Path(shutil.copy(int8_build.folder / "model.tflite", tmp_path / "elsewhere.tflite"))
    for ours, theirs in zip(predict(alone, EXAMPLES), predict(int8_build.folder, EXAMPLES), strict=True):
        assert (ours.label, ours.probability) == (theirs.label, theirs.probability)


def test_no_pictures_have_no_answers(int8_build: BuildResult) -> None:
    assert predict(int8_build.folder, []) == ()


def test_an_unreadable_picture_is_named(int8_build: BuildResult, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(EXAMPLES[0].read_bytes()[:100])
    with pytest.raises(BadInputError, match=r"broken\.png"):
        predict(int8_build.folder, [EXAMPLES[0], broken])


def test_a_damaged_model_is_bad_input(damaged: Path) -> None:
    content = (damaged / "model.tflite").read_bytes()
    (damaged / "model.tflite").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInputError, match=r"model\.tflite"):
        predict(damaged, EXAMPLES)


def test_a_folder_without_a_model_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist"):
        predict(tmp_path, EXAMPLES)
    with pytest.raises(BadInputError, match="does not exist"):
        predict(tmp_path / "absent", EXAMPLES)
