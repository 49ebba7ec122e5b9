"""Folders of pictures, arrays, and how the form and the classes of the data are recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapes_training import LABELS, SIZE, draw, write_split

from edgekit.assembler.training.data import Dataset, read_labelled
from edgekit.core.errors import BadInputError
from edgekit.core.images import read_image
from edgekit.core.model import Preprocessing
from edgekit.tasks.vocabulary import Label, Vocabulary

PETS = Vocabulary(
    (
        Label(name="cat", index=0, synonyms=("house cat", "tabby")),
        Label(name="dog", index=1, synonyms=("hound",)),
        Label(name="wild dog", index=2, synonyms=("hound",)),
    )
)


def picture(path: Path, *, colour: tuple[int, int, int] = (200, 30, 60), side: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), colour).save(path)
    return path


def read(path: Path, split: str = "train", vocabulary: Vocabulary = PETS) -> Dataset:
    return read_labelled(path, split, image_size=SIZE, vocabulary=vocabulary)


def test_a_folder_for_each_class_is_read_as_pictures_are_read_elsewhere(tmp_path: Path) -> None:
    """Sideways, transparent, grey, of other sizes: the same pixels as everywhere in edgekit."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("cat", "dog/deeper"):
        (tmp_path / name).mkdir(parents=True)
    noise.save(tmp_path / "cat" / "b.jpg", exif=exif)
    transparent = noise.convert("RGBA")
    transparent.putalpha(Image.fromarray(rng.integers(0, 256, (40, 60), np.uint8)))
    transparent.save(tmp_path / "cat" / "a.PNG")
    noise.convert("L").resize((5, 7)).save(tmp_path / "dog" / "deeper" / "c.webp")
    dataset = read(tmp_path)
    assert dataset.y_N.tolist() == [0, 0, 1]
    assert (dataset.x_NCHW.dtype, dataset.group_N.tolist()) == (np.uint8, [-1, -1, -1])
    for x_CHW, name in zip(dataset.x_NCHW, ("cat/a.PNG", "cat/b.jpg", "dog/deeper/c.webp"), strict=True):
        expected = read_image(tmp_path / name, Preprocessing(height=SIZE, width=SIZE))
        np.testing.assert_array_equal(x_CHW.transpose(1, 2, 0), expected)


def test_the_order_does_not_depend_on_the_threads(tmp_path: Path) -> None:
    for number in range(700):
        picture(tmp_path / "cat" / f"{number:03}.png", colour=(number % 256, number // 256, 0), side=4 + number % 50)
    picture(tmp_path / "dog" / "0.png")
    red_N = read(tmp_path).x_NCHW[:, 0, 0, 0]
    assert red_N.tolist() == [*(number % 256 for number in range(700)), 200]


def test_only_the_split_is_read(tmp_path: Path) -> None:
    for split, number in (("train", 3), ("val", 2)):
        for index in range(number):
            picture(tmp_path / split / "cat" / f"{index}.png")
    assert len(read(tmp_path, "train")) == 3
    assert len(read(tmp_path, "val")) == len(read(tmp_path, "validation")) == 2
    with pytest.raises(BadInputError, match="test"):
        read(tmp_path, "test")


def test_a_folder_without_splits_is_read_whole_for_any(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "0.png")
    assert len(read(tmp_path, "train")) == len(read(tmp_path, "test")) == 1


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        picture(tmp_path / name / "0.png")
    vehicles = Vocabulary((Label(name="train", index=0), Label(name="bus", index=1)))
    assert read(tmp_path, vocabulary=vehicles).y_N.tolist() == [1, 0]


def test_splits_beside_classes_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "cat" / "0.png")
    picture(tmp_path / "dog" / "0.png")
    with pytest.raises(BadInputError, match="both splits"):
        read(tmp_path)


def test_folders_are_matched_by_name_and_by_synonym(tmp_path: Path) -> None:
    for name in ("Wild_Dog", "House-Cat", "tabby", "dog"):
        picture(tmp_path / name / "0.png")
    assert read(tmp_path).y_N.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [("wild_dgo", "not a label", "wild dog"), ("hound", '"dog" and "wild dog"', "rename")],
)
def test_a_folder_that_is_no_label_or_several_is_refused(tmp_path: Path, name: str, message: str, hint: str) -> None:
    picture(tmp_path / name / "0.png")
    with pytest.raises(BadInputError, match=message) as caught:
        read(tmp_path)
    assert name in caught.value.message
    assert hint in caught.value.hint


def test_every_unreadable_picture_is_named(tmp_path: Path) -> None:
    whole = picture(tmp_path / "cat" / "whole.jpg", side=64).read_bytes()
    (tmp_path / "cat" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cat" / "text.jpg").write_text("no picture at all")
    with pytest.raises(BadInputError) as caught:
        read(tmp_path)
    assert "cat/cut.jpg" in caught.value.message
    assert "cat/text.jpg" in caught.value.message
    assert "whole.jpg" not in caught.value.message


def test_warnings_of_decoders_neither_show_nor_change_those_of_the_process(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    import warnings

    path = picture(tmp_path / "cat" / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.open(path).save(tmp_path / "cat" / "1.jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff")
    before = list(warnings.filters)
    read(tmp_path)
    assert warnings.filters == before
    assert not recwarn.list


def save(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


DRAWN = np.stack([draw(label, np.random.default_rng(label)) for label in range(3)])


@pytest.mark.parametrize("channels_last", [True, False])
def test_arrays_are_read_in_either_layout(tmp_path: Path, channels_last: bool) -> None:
    x = DRAWN if channels_last else DRAWN.transpose(0, 3, 1, 2)
    dataset = read(save(tmp_path / "a.npz", x=x, y=np.array([0, 2, 1], np.uint8)))
    np.testing.assert_array_equal(dataset.x_NCHW, DRAWN.transpose(0, 3, 1, 2))
    assert (dataset.y_N.tolist(), dataset.y_N.dtype) == ([0, 2, 1], np.int64)


def test_arrays_are_scaled_and_matched_by_their_names(tmp_path: Path) -> None:
    x = np.kron(DRAWN, np.ones((1, 2, 2, 1), np.uint8))
    dataset = read(save(tmp_path / "a.npz", x=x, y=[0, 0, 1], names=["Wild Dog", "tabby"]))
    assert dataset.y_N.tolist() == [2, 2, 0]
    assert np.abs(dataset.x_NCHW.transpose(0, 2, 3, 1).astype(float) - DRAWN).mean() < 10


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": DRAWN}, "no array y"),
        ({"y": [0, 1, 2]}, "no array x"),
        ({"x": DRAWN, "y": [0, 1]}, "for 3 pictures"),
        ({"x": DRAWN, "y": [0.0, 1.0, 2.0]}, "y is float64"),
        ({"x": DRAWN / 255, "y": [0, 1, 2]}, "x is float64"),
        ({"x": DRAWN[..., 0], "y": [0, 1, 2]}, "of shape"),
        ({"x": DRAWN[:0], "y": np.array([], int)}, "of shape"),
        ({"x": DRAWN, "y": [0, 1, 3]}, "vocabulary has 3"),
        ({"x": DRAWN, "y": [0, 1, -1]}, "from -1"),
        ({"x": DRAWN, "y": [0, 1, 2], "names": [1, 2, 3]}, "names is"),
        ({"x": DRAWN, "y": [0, 1, 2], "names": ["cat", "dog"]}, "the data names 2"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read(save(tmp_path / "a.npz", **arrays))


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("array", ["x", "y", "names"])
def test_pickled_arrays_are_refused_unopened(tmp_path: Path, array: str) -> None:
    trap = np.array([Trap(tmp_path / "sprung")], object)
    with pytest.raises(BadInputError, match="pickled"):
        read(save(tmp_path / "a.npz", **({"x": DRAWN, "y": [0, 1, 2]} | {array: trap})))
    assert not (tmp_path / "sprung").exists()


def test_a_bare_pickle_is_refused_unopened(tmp_path: Path) -> None:
    import pickle

    (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(BadInputError, match="pickled"):
        read(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 but not for long"])
def test_a_broken_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(BadInputError, match=r"a\.npz"):
        read(tmp_path / "a.npz")


def test_a_plain_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DRAWN)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(BadInputError, match=r"a\.npz"):
        read(tmp_path / "a.npz")


def test_two_forms_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "train.parquet", tracks=1, seed=0)
    picture(tmp_path / "cat" / "0.png")
    with pytest.raises(BadInputError, match="both Parquet"):
        read(tmp_path, vocabulary=Vocabulary(tuple(Label(name=n, index=i) for i, n in enumerate(LABELS))))


@pytest.mark.parametrize("name", ["absent", "empty", "notes.txt", "flat"])
def test_what_is_of_no_known_form_is_answered_with_all_three(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    picture(tmp_path / "flat" / "0.png")
    with pytest.raises(BadInputError, match=name) as caught:
        read(tmp_path / name)
    for form in ("folder of pictures for each class", "Parquet", ".npz"):
        assert form in caught.value.hint
