"""Labelled images from Parquet, and how they are split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapes_training import LABELS, SIZE, draw, png, write_split

from edgekit.assembler.training.data import Dataset, read_parquet, split_by_group
from edgekit.core.errors import BadInputError, ExitCode

PICTURES = [png(draw(label, np.random.default_rng(label))) for label in range(3)]


def write(folder: Path, **columns: list[object]) -> None:
    pq.write_table(pa.table(columns), folder / "train.parquet")


def images(*contents: bytes | None) -> list[object]:
    return [{"bytes": content, "path": None} for content in contents]


def read(folder: Path) -> Dataset:
    return read_parquet(folder, "train", image_size=SIZE, labels=len(LABELS))


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


def test_an_image_that_is_no_struct_is_refused(tmp_path: Path) -> None:
    write(tmp_path, image=[PICTURES[0]], label=[0])
    with pytest.raises(BadInputError, match="row 0"):
        read(tmp_path)


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
    with pytest.raises(BadInputError, match=r"no train\*\.parquet"):
        read(tmp_path / folder)


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
@given(datasets(), st.floats(0.05, 0.6), st.integers(0, 2**31))
def test_every_label_is_held_out_in_its_share(dataset: Dataset, held_out: float, seed: int) -> None:
    assume((dataset.group_N >= 0).all())
    _, held = split_by_group(dataset, held_out=held_out, seed=seed)
    for label in np.unique(dataset.y_N):
        groups, chosen = (len(np.unique(side.group_N[side.y_N == label])) for side in (dataset, held))
        assert chosen >= 1
        assert abs(chosen - held_out * groups) <= 1


@settings(deadline=None)
@given(datasets(), st.integers(0, 2**31))
def test_a_split_repeats_by_seed(dataset: Dataset, seed: int) -> None:
    first, again = (split_by_group(dataset, held_out=0.3, seed=seed) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.x_NCHW, other.x_NCHW)
