"""What is said of the images of a training before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapes_training import LABELS, SIZE, write_recipe, write_split

from edgekit.assembler.training.data import split_by_group
from edgekit.assembler.training.data.reading import TrainingData, read_training_data
from edgekit.core.errors import BadInputError

RNG = np.random.default_rng(5)


def fill(data: Path, number: int, *, labels: tuple[str, ...] = LABELS, side: int = SIZE) -> Path:
    """`number` pictures of each label, no two the same."""
    for label in labels:
        (data / label).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            noise = RNG.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(noise).save(data / label / f"{index:02}.png")
    return data


def copy(data: Path, origin: str, *others: str) -> None:
    for other in others:
        (data / other).write_bytes((data / origin).read_bytes())


def read(tmp_path: Path, data: Path, *, vocabulary: bool = True) -> TrainingData:
    recipe = write_recipe(tmp_path / "recipe")
    if not vocabulary:
        (recipe.parent / "vocabulary.json").unlink()
    return read_training_data(recipe, data, lambda *_: None)


def test_good_data_is_read_at_the_size_of_the_recipe_without_a_word(tmp_path: Path) -> None:
    read_ = read(tmp_path, fill(tmp_path / "data", 20, side=SIZE + 3))
    read_.report.check(skip_bad=False)
    assert read_.dataset.x_NCHW.shape == (120, 3, SIZE, SIZE)
    assert (read_.report.images, read_.report.faults, read_.report.remarks) == (120, (), ())
    assert [count.images for count in read_.report.counts] == [20] * len(LABELS)


def test_without_a_vocabulary_it_is_made_of_the_folders(tmp_path: Path) -> None:
    read_ = read(tmp_path, fill(tmp_path / "data", 2, labels=("zebra", "Apple pie")), vocabulary=False)
    assert [label.name for label in read_.vocabulary.labels] == ["Apple pie", "zebra"]
    assert read_.spec.labels == 2
    assert any("vocabulary was made" in remark for remark in read_.report.remarks)


@pytest.mark.parametrize("names", [("Red-Fox", "red fox"), ("other", "cat")])
def test_folders_that_cannot_be_labels_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError, match="data"):
        read(tmp_path, fill(tmp_path / "data", 2, labels=names), vocabulary=False)


def test_data_without_names_needs_a_vocabulary(tmp_path: Path) -> None:
    write_split(tmp_path / "data" / "train.parquet", tracks=2, seed=0)
    with pytest.raises(BadInputError, match="does not name its classes") as caught:
        read(tmp_path, tmp_path / "data", vocabulary=False)
    example = caught.value.hint[caught.value.hint.index("{") : caught.value.hint.rindex("}") + 1]
    (tmp_path / "recipe" / "vocabulary.json").write_text(example)
    with pytest.raises(BadInputError, match="vocabulary has 2"):
        read_training_data(tmp_path / "recipe" / "recipe.toml", tmp_path / "data", lambda *_: None)
    assert [label["name"] for label in json.loads(example)["labels"]] == ["dog", "cat"]


def test_unreadable_pictures_stop_the_training_unless_skipped(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 22)
    for index in range(12):
        (data / LABELS[0] / f"{index:02}.png").write_bytes(b"none")
    read_ = read(tmp_path, data)
    with pytest.raises(BadInputError, match=r"cannot be read: 12\n") as caught:
        read_.report.check(skip_bad=False)
    assert sum(f"{LABELS[0]}/{index:02}.png" in caught.value.message for index in range(12)) == 10
    assert "--skip-bad" in caught.value.hint
    read_.report.check(skip_bad=True)
    assert len(read_.report.unreadable) == 12
    assert np.bincount(read_.dataset.y_N).tolist() == [10, 22, 22, 22, 22, 22]


def test_a_picture_under_two_labels_stops_the_training_unless_skipped(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 21)
    copy(data, f"{LABELS[0]}/00.png", f"{LABELS[1]}/00.png", f"{LABELS[1]}/01.png")
    read_ = read(tmp_path, data)
    with pytest.raises(BadInputError, match="several labels") as caught:
        read_.report.check(skip_bad=False)
    for word in (f"{LABELS[0]}/00.png", f"{LABELS[1]}/01.png"):
        assert word in caught.value.message
    read_.report.check(skip_bad=True)
    assert read_.report.conflicts[0].labels == LABELS[:2]
    assert [count.images for count in read_.report.counts] == [20, 19, 21, 21, 21, 21]
    assert read_.report.copies == 0
    x_CHW = np.asarray(Image.open(data / LABELS[0] / "00.png")).transpose(2, 0, 1)
    assert not (read_.dataset.x_NCHW == x_CHW).all((1, 2, 3)).any()


def test_copies_stay_on_one_side_of_every_split(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 6)
    copy(data, f"{LABELS[2]}/00.png", f"{LABELS[2]}/01.png", f"{LABELS[2]}/02.png")
    # The same pixels in another file: copies are what the network cannot tell apart.
    Image.open(data / LABELS[3] / "00.png").save(data / LABELS[3] / "05.bmp")
    read_ = read(tmp_path, data)
    read_.report.check(skip_bad=False)
    assert read_.report.copies == 3
    assert any(remark.endswith(": 3") and "copies" in remark for remark in read_.report.remarks)
    for seed in range(20):
        sides = split_by_group(read_.dataset, held_out=0.4, seed=seed)
        pictures = [{x_CHW.tobytes() for x_CHW in side.x_NCHW} for side in sides]
        assert not pictures[0] & pictures[1]
        for side in sides:
            assert set(side.y_N.tolist()) == set(range(len(LABELS)))


def test_labels_with_too_few_images_are_named(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 3)
    read_ = read(tmp_path, data)
    read_.report.check(skip_bad=False)
    assert any("fewer than 20" in remark and f"{LABELS[0]} (3)" in remark for remark in read_.report.remarks)
    for index, message in ((0, "a single image"), (1, "a single group"), (2, "no image")):
        for path in sorted((data / LABELS[index]).iterdir()):
            path.unlink()
        if index < 2:
            fill(data, 1, labels=(LABELS[index],))
        if index == 1:
            copy(data, f"{LABELS[1]}/00.png", f"{LABELS[1]}/01.png")
        with pytest.raises(BadInputError, match=rf'{message}.* of label {index} "{LABELS[index]}"'):
            read(tmp_path, data).report.check(skip_bad=False)
        fill(data, 3, labels=(LABELS[index],))


def test_a_single_class_is_nothing_to_learn(tmp_path: Path) -> None:
    read_ = read(tmp_path, fill(tmp_path / "data", 4, labels=("cat",)), vocabulary=False)
    with pytest.raises(BadInputError, match='a single label "cat"'):
        read_.report.check(skip_bad=True)


def test_nothing_but_bad_pictures_is_no_data(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 1)
    for path in data.rglob("*.png"):
        path.write_bytes(b"none")
    with pytest.raises(BadInputError, match=r"no image of label 0 .* 5 more"):
        read(tmp_path, data).report.check(skip_bad=True)


def test_oddities_are_told(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 2)
    fill(data, 30, labels=(LABELS[0],), side=SIZE // 2 - 1)
    (data / "notes.txt").write_text("x")
    (data / LABELS[1] / "thumbs.db").write_text("x")
    (data / LABELS[1] / ".hidden").write_text("x")
    report = read(tmp_path, data).report
    report.check(skip_bad=False)
    told = "\n".join(report.remarks)
    assert "has 30, the one with fewest 2" in told
    assert "scaled up: 30" in told
    assert "left out, 2: notes.txt, red frame/thumbs.db" in told
    assert json.loads(json.dumps(report.to_json()))["small"] == 30


def test_progress_ends_at_the_number_of_pictures(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    read_training_data(write_recipe(tmp_path / "recipe"), fill(tmp_path / "data", 3), lambda *step: told.append(step))
    assert told == sorted(told)
    assert told[-1] == (18, 18)
