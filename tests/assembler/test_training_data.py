"""Labelled images from Parquet, and how they are split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapes_training import LABELS, SIZE, draw, png, write_split

from edgekit.assembler.training.data import Dataset, read_labelled, split_by_group
from edgekit.assembler.training.data.dataset import with_copies_grouped
from edgekit.core.errors import BadInputError, ExitCode
from edgekit.tasks.vocabulary import Label, Vocabulary

VOCABULARY = Vocabulary(tuple(Label(name=name, index=index) for index, name in enumerate(LABELS)))
PICTURES = [png(draw(label, np.random.default_rng(label))) for label in range(3)]


def write(folder: Path, **columns: list[object]) -> None:
    pq.write_table(pa.table(columns), folder / "train.parquet")


def images(*contents: bytes | None) -> list[object]:
    return [{"bytes": content, "path": None} for content in contents]


def read(path: Path) -> Dataset:
    return read_labelled(path, "train", image_size=SIZE, vocabulary=VOCABULARY)


def features(*names: str) -> dict[str, str]:
    """The metadata of a schema in which `datasets` keeps the names of the classes."""
    label = {"names": list(names), "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}})}


def test_images_labels_and_tracks_come_back(tmp_path: Path) -> None:
    write(tmp_path, image=images(*PICTURES), label=[0, 1, 2], track=[7, 7, 9])
    dataset = read(tmp_path)
    assert (dataset.x_NCHW.dtype, dataset.x_NCHW.shape) == (np.uint8, (3, 3, SIZE, SIZE))
    for label in range(3):
        expected = draw(label, np.random.default_rng(label))
        np.testing.assert_array_equal(dataset.x_NCHW[label].transpose(1, 2, 0), expected)
    assert dataset.y_N.tolist() == [0, 1, 2]
    assert dataset.group_N.tolist() == [7, 7, 9]


def test_without_tracks_no_group_is_known(tmp_path: Path) -> None:
    write(tmp_path, image=images(*PICTURES), label=[0, 1, 2])
    assert read(tmp_path).group_N.tolist() == [-1, -1, -1]


def test_all_files_of_the_split_are_read_and_no_other(tmp_path: Path) -> None:
    for name, labels in (("train-0", (0, 1)), ("train-1", (2,)), ("test", (3,))):
        write_split(tmp_path / f"{name}.parquet", tracks=1, seed=0, labels=labels)
    assert sorted(set(read(tmp_path).y_N.tolist())) == [0, 1, 2]


def test_larger_pictures_are_scaled_down(tmp_path: Path) -> None:
    large = np.kron(draw(0, np.random.default_rng(0)), np.ones((4, 4, 1), np.uint8))
    write(tmp_path, image=images(png(large)), label=[0])
    (x_CHW,) = read(tmp_path).x_NCHW
    assert np.abs(x_CHW.transpose(1, 2, 0).astype(float) - draw(0, np.random.default_rng(0))).mean() < 20


@pytest.mark.parametrize("label", [-1, 6, 1000])
def test_a_label_outside_of_the_vocabulary_is_refused(tmp_path: Path, label: int) -> None:
    write(tmp_path, image=images(*PICTURES), label=[0, label, 2])
    with pytest.raises(BadInputError, match="vocabulary has 6"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no picture", PICTURES[0][:60], None])
def test_an_unreadable_image_is_named_by_its_row(tmp_path: Path, content: bytes | None) -> None:
    write(tmp_path, image=images(PICTURES[0], content), label=[0, 1])
    with pytest.raises(BadInputError, match="row 1") as caught:
        read(tmp_path)
    assert caught.value.code is ExitCode.BAD_INPUT
    assert "train.parquet" in caught.value.message


@pytest.mark.parametrize("image", [PICTURES[0], {"path": "a.png"}, "a.png"])
def test_an_image_that_is_no_struct_with_bytes_is_refused(tmp_path: Path, image: object) -> None:
    write(tmp_path, image=[image], label=[0])
    with pytest.raises(BadInputError, match="column image") as caught:
        read(tmp_path)
    assert "struct" in caught.value.hint


def test_a_single_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    write_split(tmp_path / "signs.parquet", tracks=1, seed=0)
    assert sorted(set(read(tmp_path / "signs.parquet").y_N.tolist())) == list(range(len(LABELS)))


def test_class_names_in_the_schema_are_matched_with_the_vocabulary(tmp_path: Path) -> None:
    table = pa.table({"image": images(*PICTURES), "label": [0, 1, 2]})
    names = features("blue_cross", "Red Square", "red frame")
    pq.write_table(table.replace_schema_metadata(names), tmp_path / "train.parquet")
    assert read(tmp_path).y_N.tolist() == [LABELS.index("blue cross"), 0, 1]


def test_files_that_name_their_classes_differently_are_refused(tmp_path: Path) -> None:
    for number, names in enumerate((("red square", "red frame"), ("red frame", "red square"))):
        table = pa.table({"image": images(PICTURES[0]), "label": [0]})
        pq.write_table(table.replace_schema_metadata(features(*names)), tmp_path / f"train-{number}.parquet")
    with pytest.raises(BadInputError, match="disagree"):
        read(tmp_path)


def test_a_number_without_a_name_is_refused(tmp_path: Path) -> None:
    table = pa.table({"image": images(PICTURES[0]), "label": [1]})
    pq.write_table(table.replace_schema_metadata(features("red square")), tmp_path / "train.parquet")
    with pytest.raises(BadInputError, match="the data names 1"):
        read(tmp_path)


def test_metadata_of_other_writers_is_none_of_our_business(tmp_path: Path) -> None:
    table = pa.table({"image": images(PICTURES[0]), "label": [1]})
    pq.write_table(table.replace_schema_metadata({"huggingface": '{"info": {}}', "x": "y"}), tmp_path / "train.parquet")
    assert read(tmp_path).y_N.tolist() == [1]


@pytest.mark.parametrize("missing", ["image", "label"])
def test_a_missing_column_is_refused(tmp_path: Path, missing: str) -> None:
    columns = {"image": images(PICTURES[0]), "label": [0]}
    del columns[missing]
    write(tmp_path, **columns)
    with pytest.raises(BadInputError, match="cannot read") as caught:
        read(tmp_path)
    assert "columns image and label" in caught.value.hint


@pytest.mark.parametrize("kept", [0, 4, 200])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    write(tmp_path, image=images(*PICTURES), label=[0, 1, 2])
    path = tmp_path / "train.parquet"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInputError, match="cannot read"):
        read(tmp_path)


@pytest.mark.parametrize("column", ["label", "track"])
@pytest.mark.parametrize("values", [[0, None, 1], [0.0, 0.5, 1.0], ["0", "1", "2"]])
def test_a_column_without_whole_numbers_is_refused(tmp_path: Path, column: str, values: list[object]) -> None:
    write(tmp_path, **({"image": images(*PICTURES), "label": [0, 1, 2], "track": [0, 1, 2]} | {column: values}))
    with pytest.raises(BadInputError, match=f"column {column}"):
        read(tmp_path)


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    kinds = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    pq.write_table(kinds.empty_table(), tmp_path / "train.parquet")
    with pytest.raises(BadInputError, match="no rows"):
        read(tmp_path)


@pytest.mark.parametrize("folder", ["absent", "."])
def test_a_folder_without_the_split_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "test.parquet").write_bytes(b"another split")
    with pytest.raises(BadInputError, match=r"no train\*\.parquet|does not exist") as caught:
        read(tmp_path / folder)
    for form in ("folder of pictures", "Parquet", ".npz"):
        assert form in caught.value.hint


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Tracks counted anew for each label, -1 where none is known; `x_NCHW` numbers the images."""
    track = st.tuples(st.integers(0, 3), st.integers(-1, 6), st.integers(1, 5))
    y, group = [], []
    for label, number, size in draw(st.lists(track, min_size=1, max_size=20)):
        y += [label] * size
        group += [number] * size
    order = draw(st.permutations(range(len(y))))
    numbers = np.arange(len(y), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Dataset(x_NCHW=numbers, y_N=np.array(y)[order], group_N=np.array(group)[order])


@settings(deadline=None)
@given(datasets(), st.floats(0.05, 0.6), st.integers(0, 2**31))
def test_a_split_never_cuts_a_group_and_loses_no_image(dataset: Dataset, held_out: float, seed: int) -> None:
    kept, held = split_by_group(dataset, held_out=held_out, seed=seed)
    tracks = [set(zip(side.y_N.tolist(), side.group_N.tolist(), strict=True)) for side in (kept, held)]
    assert all(group == -1 for _, group in tracks[0] & tracks[1])
    numbers = np.concatenate([kept.x_NCHW, held.x_NCHW]).ravel()
    assert sorted(numbers.tolist()) == list(range(len(dataset)))
    for side in (kept, held):
        for number, label, group in zip(side.x_NCHW.ravel(), side.y_N, side.group_N, strict=True):
            assert (label, group) == (dataset.y_N[number], dataset.group_N[number])


@settings(deadline=None)
@given(datasets(), st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_every_label_is_held_out_in_its_share(dataset: Dataset, held_out: float, seed: int) -> None:
    assume((dataset.group_N >= 0).all())
    kept, held = split_by_group(dataset, held_out=held_out, seed=seed)
    for label in np.unique(dataset.y_N):
        groups, chosen, left = (len(np.unique(side.group_N[side.y_N == label])) for side in (dataset, held, kept))
        assert chosen >= 1
        assert left >= 1 or groups == 1
        assert abs(chosen - held_out * groups) <= 1


@settings(deadline=None)
@given(datasets(), st.integers(0, 2**31))
def test_a_split_repeats_by_seed(dataset: Dataset, seed: int) -> None:
    first, again = (split_by_group(dataset, held_out=0.3, seed=seed) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.x_NCHW, other.x_NCHW)


@st.composite
def datasets_with_copies(draw: st.DrawFn) -> tuple[Dataset, np.ndarray]:
    """A data set, and the number of each image's picture: few pictures, none under two labels."""
    dataset = draw(datasets())
    drawn = draw(st.lists(st.integers(0, 12), min_size=len(dataset), max_size=len(dataset)))
    return dataset, np.unique(dataset.y_N * 13 + np.array(drawn), return_inverse=True)[1]


@settings(deadline=None)
@given(datasets_with_copies(), st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_neither_a_group_nor_a_copy_is_on_both_sides(
    copied: tuple[Dataset, np.ndarray], held_out: float, seed: int
) -> None:
    dataset, picture_N = copied
    kept, held = split_by_group(with_copies_grouped(dataset, picture_N), held_out=held_out, seed=seed)
    sides = [side.x_NCHW.ravel() for side in (kept, held)]
    assert not set(picture_N[sides[0]]) & set(picture_N[sides[1]])
    tracks = [{(dataset.y_N[n], dataset.group_N[n]) for n in side if dataset.group_N[n] >= 0} for side in sides]
    assert not tracks[0] & tracks[1]


@settings(deadline=None)
@given(datasets_with_copies())
def test_copies_join_groups_over_any_number_of_steps_and_nothing_else(copied: tuple[Dataset, np.ndarray]) -> None:
    """Against the plain closure: two images belong together where a chain of shared pictures or groups leads over."""
    dataset, picture_N = copied
    grouped = with_copies_grouped(dataset, picture_N)
    assert (grouped.y_N == dataset.y_N).all()
    together = np.eye(len(dataset), dtype=bool) | (picture_N[:, None] == picture_N)
    together |= (
        (dataset.y_N[:, None] == dataset.y_N)
        & (dataset.group_N[:, None] == dataset.group_N)
        & (dataset.group_N >= 0)[:, None]
    )
    for _ in range(7):  # each step doubles the chains: 2**7 is more than there are images
        together = together @ together
    mine = (grouped.y_N[:, None] == grouped.y_N) & (grouped.units[:, None] == grouped.units)
    np.testing.assert_array_equal(mine, together)


@settings(deadline=None)
@given(datasets())
def test_without_copies_every_image_keeps_its_group(dataset: Dataset) -> None:
    grouped = with_copies_grouped(dataset, np.arange(len(dataset)))
    np.testing.assert_array_equal(grouped.group_N, dataset.group_N)


@settings(deadline=None)
@given(datasets(), st.integers(0, 2**31))
def test_images_moved_in_place_are_those_that_a_copy_would_hold(dataset: Dataset, seed: int) -> None:
    chosen = np.random.default_rng(seed).random(len(dataset)) < 0.7
    copied = dataset.take(chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgekit.assembler.training.data.dataset.IMAGES_AT_ONCE", 3)
        moved = dataset.compacted(chosen)
    for mine, theirs in ((moved.x_NCHW, copied.x_NCHW), (moved.y_N, copied.y_N), (moved.group_N, copied.group_N)):
        np.testing.assert_array_equal(mine, theirs)
