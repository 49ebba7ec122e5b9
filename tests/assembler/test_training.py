"""From drawn shapes to a supernet's folder that builds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import shapes_training
import torch
from safetensors.torch import load_file
from shapes_training import LABELS, SIZE, write_recipe, write_split

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.training import trainer
from edgekit.assembler.training.data import read_parquet
from edgekit.assembler.training.run import train_supernet
from edgekit.core.errors import BadInputError, UsageError
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.evaluate import evaluate
from edgekit.supernet.storage import CALIBRATION, CARD, WEIGHTS, open_supernet
from edgekit.tasks.grammar import parse_task


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A finished training and what it reported: (stage, done, of)."""

    recipe: Path
    folder: Path
    reports: list[tuple[str, int, int]]


@pytest.fixture(scope="module", autouse=True)
def fewer_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for constant, value in shapes_training.FEWER.items():
            patch.setattr(*shapes_training.module_and_name(constant), value)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_split(folder / "train.parquet", tracks=8, seed=0)
    write_split(folder / "test.parquet", tracks=6, seed=1)
    return folder


def train(recipe: Path, data: Path, output: Path, *, resume: bool = False, overwrite: bool = False) -> Training:
    reports: list[tuple[str, int, int]] = []

    def report(stage: str, done: int, of: int, _figures: dict[str, float]) -> None:
        reports.append((stage, done, of))

    folder = train_supernet(recipe, data, output, resume=resume, overwrite=overwrite, report=report)
    return Training(recipe=recipe, folder=folder, reports=reports)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Long enough to learn the shapes."""
    place = tmp_path_factory.mktemp("long")
    return train(write_recipe(place / "recipe", steps=320, warmup_steps=200), data, place / "shapes")


@pytest.fixture(scope="module")
def brief(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A few steps, never interrupted."""
    place = tmp_path_factory.mktemp("brief")
    return train(write_recipe(place / "recipe"), data, place / "shapes")


def test_it_learns(trained: Training, data: Path) -> None:
    full = evaluate(trained.folder, data)
    assert full.images == 6 * len(LABELS) * shapes_training.IMAGES_A_TRACK
    assert full.accuracy.value > 0.8, "chance is 1 of 6"
    smallest = evaluate(trained.folder, data, genotype=str(open_supernet(trained.folder).spec.smallest))
    assert smallest.accuracy.value > 0.3


def test_the_folder_opens_and_assembles(trained: Training) -> None:
    folder = open_supernet(trained.folder)
    assert [label.name for label in folder.vocabulary.labels] == list(LABELS)
    assembler = Assembler.load(folder)
    assert assembler.supernet(torch.rand(1, 3, SIZE, SIZE), folder.spec.full).shape == (1, len(LABELS))
    assert {path.name for path in trained.folder.iterdir()} == {
        WEIGHTS,
        CALIBRATION,
        CARD,
        "vocabulary.json",
        "recipe.toml",
    }
    assert (trained.folder / "recipe.toml").read_bytes() == trained.recipe.read_bytes()


def test_the_card_tells_what_was_done(trained: Training) -> None:
    card = open_supernet(trained.folder).card
    assert (card["name"], card["data"], card["training"]["steps"]) == ("shapes", "Shapes, drawn by the tests", 320)
    assert card["training"]["train_images"] + card["training"]["held_out_images"] == 8 * 6 * 4
    assert card["training"]["held_out_images"] == 2 * 6 * 4, "a quarter of the tracks of each label"
    assert 0 <= card["predictor"]["mean_absolute_error"] <= card["predictor"]["p90_absolute_error"] <= 1
    vocabulary = open_supernet(trained.folder).vocabulary
    assert len(card["kept_out_compositions"]) >= 2
    for text in card["kept_out_compositions"]:
        assert parse_task(text, vocabulary).indices


def test_calibration_pictures_are_nobodys_images(trained: Training, data: Path) -> None:
    x_NHWC = open_supernet(trained.folder).read_tensors(CALIBRATION)["x_NHWC"]
    assert (x_NHWC.dtype, tuple(x_NHWC.shape)) == (torch.uint8, (12, SIZE, SIZE, 3))
    real_NHWC = read_parquet(data, "train", image_size=SIZE, labels=len(LABELS)).x_NCHW.transpose(0, 2, 3, 1)
    for x_HWC in x_NHWC.numpy().astype(float):
        assert np.abs(real_NHWC - x_HWC).mean((1, 2, 3)).min() > 5
    assert x_NHWC.float().std() > 10, "grey pictures calibrate nothing"


def test_progress_is_told_stage_by_stage(trained: Training) -> None:
    stages = list(dict.fromkeys(stage for stage, _, _ in trained.reports))
    assert stages[0] == "train"
    assert {"fit", "teach", "synthesise"} < set(stages)
    for stage in stages:
        steps = [(done, of) for name, done, of in trained.reports if name == stage]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1], f"{stage} never reports its end"


def test_a_trained_supernet_builds(trained: Training, tmp_path: Path) -> None:
    result = build(
        task="colour=red", target="rpi4:tflite-fp32", model=trained.folder, output=tmp_path / "out", other=True
    )
    assert result.labels == ("red square", "red frame", "red cross", "other")
    assert verify(tmp_path / "out").checks


def test_an_interrupted_training_goes_on_as_if_it_never_stopped(
    brief: Training, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in step 8 of 12, after the checkpoint of step 5: in the warm-up's first task, and once more."""
    augment, calls = trainer.augment, []

    def interrupted(x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        calls.append(None)
        if len(calls) in {3, 11}:
            raise KeyboardInterrupt
        return augment(x_NCHW, generator)

    monkeypatch.setattr(trainer, "augment", interrupted)
    recipe, output = write_recipe(tmp_path / "recipe"), tmp_path / "shapes"
    for stop in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, data, output, resume=True)
        assert not output.exists()
        assert {path.name for path in tmp_path.iterdir()} == {"recipe", "shapes.training"}, f"stop {stop}"
    resumed = train(recipe, data, output, resume=True)
    assert len(calls) == 3 + 8 + (12 - 5), "from the start, from the start, from step 5"
    mine, theirs = load_file(resumed.folder / WEIGHTS), load_file(brief.folder / WEIGHTS)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name
    assert (resumed.folder / CALIBRATION).read_bytes() == (brief.folder / CALIBRATION).read_bytes()


def test_another_seed_trains_another_supernet(brief: Training, data: Path, tmp_path: Path) -> None:
    other = train(write_recipe(tmp_path / "recipe", seed=2), data, tmp_path / "shapes")
    mine, theirs = load_file(other.folder / WEIGHTS), load_file(brief.folder / WEIGHTS)
    assert mine.keys() == theirs.keys()
    assert not torch.equal(mine["supernet.w_stem"], theirs["supernet.w_stem"])


def test_an_existing_folder_is_refused_before_hours_of_training(brief: Training, data: Path) -> None:
    before = (brief.folder / WEIGHTS).read_bytes()
    with pytest.raises(UsageError, match="exists"):
        train_supernet(
            brief.recipe, data, brief.folder, resume=False, overwrite=False, report=lambda *_: pytest.fail("trained")
        )
    assert (brief.folder / WEIGHTS).read_bytes() == before


def test_a_checkpoint_of_another_recipe_is_refused(brief: Training, data: Path, tmp_path: Path) -> None:
    work = tmp_path / "shapes.training"
    work.mkdir()
    checkpoint = brief.folder.with_name("shapes.training") / "checkpoint-0.safetensors"
    (work / checkpoint.name).write_bytes(checkpoint.read_bytes())
    wider = write_recipe(tmp_path / "recipe", stem_channels=12)
    with pytest.raises(BadInputError, match="not a checkpoint of this recipe"):
        train(wider, data, tmp_path / "shapes", resume=True)


def test_a_truncated_checkpoint_is_refused(brief: Training, data: Path, tmp_path: Path) -> None:
    work = tmp_path / "shapes.training"
    work.mkdir()
    checkpoint = brief.folder.with_name("shapes.training") / "checkpoint-0.safetensors"
    (work / checkpoint.name).write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(BadInputError, match="not a checkpoint"):
        train(write_recipe(tmp_path / "recipe"), data, tmp_path / "shapes", resume=True)


def test_a_label_without_images_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "data" / "train.parquet", tracks=2, seed=0, labels=(0, 1, 3, 4, 5))
    with pytest.raises(BadInputError, match="no image of label 2"):
        train(write_recipe(tmp_path / "recipe"), tmp_path / "data", tmp_path / "shapes")
    assert not (tmp_path / "shapes").exists()


def test_a_label_of_a_single_track_is_refused(tmp_path: Path) -> None:
    """Held out, it would be measured and never learnt."""
    write_split(tmp_path / "data" / "train-0.parquet", tracks=3, seed=0, labels=(0, 1, 2, 3, 4))
    write_split(tmp_path / "data" / "train-1.parquet", tracks=1, seed=0, labels=(5,))
    with pytest.raises(BadInputError, match="label 5"):
        train(write_recipe(tmp_path / "recipe"), tmp_path / "data", tmp_path / "shapes")


def test_the_curve_is_kept(brief: Training) -> None:
    curve = brief.folder.with_name("shapes.training") / "curve.jsonl"
    records = [json.loads(line) for line in curve.read_text().splitlines()]
    assert [record["step"] for record in records] == [5, 10, 12]
    assert all(0 <= record["acc_100"] <= 1 for record in records)
