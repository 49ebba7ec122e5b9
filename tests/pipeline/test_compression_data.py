"""Inputs of a compression: every form is read, and what is judged by is never learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.model import Preprocessing
from edgekit.pipeline.compression.data import CALIBRATION_INPUTS, Data, read_data

PICTURES = Preprocessing(height=8, width=8, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
SHAPE = (3, 8, 8)


def save_arrays(path: Path, number: int = 80, *, labels: bool = True, shape: tuple[int, ...] = (4,)) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(number, *shape)).astype(np.float32)}
    if labels:
        arrays["y"] = rng.integers(0, 3, number)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def all_inputs(data: Data) -> list[bytes]:
    return [x.numpy().tobytes() for samples in (data.training, data.judging, data.evaluation) for x in samples.x_N]


def test_arrays_are_taken_as_they_are_and_split_without_overlap(tmp_path: Path) -> None:
    path = save_arrays(tmp_path / "inputs.npz")
    data = read_data(path, None, input_shape=(4,), preprocessing=None, seed=0)
    inputs = all_inputs(data)
    assert len(inputs) == len(set(inputs)) == 80
    assert {x.tobytes() for x in np.load(path)["x"]} == set(inputs)
    assert len(data.evaluation) == 20
    assert all(x.numpy().tobytes() in inputs for x in data.calibration.x_N)
    assert len(data.calibration) == min(CALIBRATION_INPUTS, len(data.training))


def test_the_same_seed_gives_the_same_split(tmp_path: Path) -> None:
    path = save_arrays(tmp_path / "inputs.npz")
    first, again, other = (read_data(path, None, input_shape=(4,), preprocessing=None, seed=seed) for seed in (1, 1, 2))
    assert first.evaluation.x_N.equal(again.evaluation.x_N)
    assert not first.evaluation.x_N.equal(other.evaluation.x_N)


def test_inputs_to_be_judged_on_are_those_of_eval_alone(tmp_path: Path) -> None:
    data = read_data(
        save_arrays(tmp_path / "train.npz", 40),
        save_arrays(tmp_path / "val.npz", 9),
        input_shape=(4,),
        preprocessing=None,
        seed=0,
    )
    assert len(data.evaluation) == 9
    assert len(data.training) + len(data.judging) == 40


def test_pictures_of_classes_get_mean_and_std_and_names(tmp_path: Path) -> None:
    for label, grey in (("dark", 0), ("light", 255)):
        (tmp_path / label).mkdir()
        for number in range(8):
            Image.new("RGB", (8, 8), (grey, grey, grey)).save(tmp_path / label / f"{number}.png")
    data = read_data(tmp_path, None, input_shape=SHAPE, preprocessing=PICTURES, seed=0)
    assert data.labels == ("dark", "light")
    assert data.training.y_N is not None
    for x_CHW, y in zip(data.training.x_N, data.training.y_N, strict=True):
        expected = [(float(y) - mean) / std for mean, std in zip(PICTURES.mean, PICTURES.std, strict=True)]
        assert x_CHW[:, 0, 0].tolist() == pytest.approx(expected)


def test_a_folder_of_pictures_needs_no_labels(tmp_path: Path) -> None:
    for number in range(10):
        Image.new("RGB", (9, 7), (number, 0, 0)).save(tmp_path / f"{number}.png")
    data = read_data(tmp_path, None, input_shape=SHAPE, preprocessing=PICTURES, seed=0)
    assert data.training.y_N is None
    assert data.labels == ()
    assert data.training.x_N.shape[1:] == SHAPE


def test_unusable_inputs_are_refused(tmp_path: Path) -> None:
    def refused(path: Path, shape: tuple[int, ...], preprocessing: Preprocessing | None = None) -> str:
        with pytest.raises((BadInputError, UsageError)) as caught:
            read_data(path, None, input_shape=shape, preprocessing=preprocessing, seed=0)
        assert caught.value.hint
        return caught.value.message

    assert "expected float32 (N, 5)" in refused(save_arrays(tmp_path / "other.npz"), (5,))
    assert "at least 8" in refused(save_arrays(tmp_path / "few.npz", 3), (4,))
    np.savez(tmp_path / "nan.npz", x=np.full((20, 4), np.nan, np.float32))
    assert "not finite" in refused(tmp_path / "nan.npz", (4,))
    np.savez(tmp_path / "y.npz", x=np.zeros((20, 4), np.float32), y=np.zeros((20, 2)))
    assert "y is float64" in refused(tmp_path / "y.npz", (4,))
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 no archive")
    assert "cannot read" in refused(tmp_path / "damaged.npz", (4,))
    assert "takes arrays of shape (4,)" in refused(tmp_path, (4,))
    assert "does not exist" in refused(tmp_path / "nowhere", SHAPE, PICTURES)
