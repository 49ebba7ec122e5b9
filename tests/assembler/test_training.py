"""From drawn shapes to a supernet's folder that builds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import shapes_training
import torch
from safetensors.torch import load, load_file
from shapes_training import LABELS, SIZE, write_recipe, write_split
from torch import nn

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.confidence import Confidence
from edgekit.assembler.elites import ARCHIVE
from edgekit.assembler.training.checkpoint import TrainingState, load_checkpoint
from edgekit.assembler.training.curve import CURVE
from edgekit.assembler.training.data import read_parquet, split_by_group
from edgekit.assembler.training.recipe import Recipe
from edgekit.assembler.training.run import refit_supernet, train_supernet
from edgekit.assembler.training.trainer import Trainer
from edgekit.core.errors import BadInputError, UsageError
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.evaluate import evaluate
from edgekit.supernet.convolution import convolve
from edgekit.supernet.storage import CALIBRATION, CARD, WEIGHTS, open_supernet
from edgekit.tasks.grammar import parse_task
from edgekit.tasks.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A finished training and what it reported: (stage, done, of)."""

    recipe: Path
    folder: Path
    reports: list[tuple[str, int, int]]


ENDLESS_WRITER = """
import sys
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekit.assembler.training.checkpoint import TrainingState, save_checkpoint

network = nn.Linear(1000, 1000)
state = TrainingState(
    modules={"network": network},
    optimizers=[torch.optim.AdamW(network.parameters())],
    images=torch.Generator(),
    tasks=np.random.default_rng(),
)
for step in count(1):
    nn.init.constant_(network.weight, step)
    save_checkpoint(Path(sys.argv[1]), state, step=step, seconds=0.0)
"""


def work_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.training")


def curve_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (work_of(folder) / CURVE).read_text().splitlines()]


def assert_same_tensors(mine: Path, theirs: Path) -> None:
    first, second = load_file(mine), load_file(theirs)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


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


def train(recipe: Path, data: Path, output: Path, *, resume: bool = False, stop: int | None = None) -> Training:
    """Interrupted as with Ctrl-C after step `stop`, where there is one."""
    reports: list[tuple[str, int, int]] = []

    def report(stage: str, done: int, of: int, _figures: dict[str, float]) -> None:
        reports.append((stage, done, of))
        if (stage, done) == ("train", stop):
            raise KeyboardInterrupt

    folder = train_supernet(recipe, data, output, resume=resume, overwrite=False, report=report)
    return Training(recipe=recipe, folder=folder, reports=reports)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Long enough to learn the shapes."""
    place = tmp_path_factory.mktemp("long")
    return train(write_recipe(place / "recipe", steps=440, warmup_steps=240), data, place / "shapes")


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
        ARCHIVE,
        CALIBRATION,
        CARD,
        "vocabulary.json",
        "recipe.toml",
        CURVE,
    }
    assert (trained.folder / CURVE).read_bytes() == (work_of(trained.folder) / CURVE).read_bytes()
    assert (trained.folder / "recipe.toml").read_bytes() == trained.recipe.read_bytes()


def test_the_card_tells_what_was_done(trained: Training) -> None:
    card = open_supernet(trained.folder).card
    assert (card["name"], card["data"], card["training"]["steps"]) == ("shapes", "Shapes, drawn by the tests", 440)
    assert card["training"]["train_images"] + card["training"]["held_out_images"] == 8 * 6 * 4
    assert card["training"]["held_out_images"] == 2 * 6 * 4, "a quarter of the tracks of each label"
    assert 0 <= card["predictor"]["mean_absolute_error"] <= card["predictor"]["p90_absolute_error"] <= 1
    assert card["confidence"]["images"] == card["training"]["held_out_images"]
    assert Confidence.of_card(card).sharpness > 0
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
    assert stages[:2] == ["read", "train"]
    assert {"front", "fit", "teach", "synthesise"} < set(stages)
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


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_interrupted_training_goes_on_as_if_it_never_stopped(
    optimizer: str, brief: Training, data: Path, tmp_path: Path
) -> None:
    """Twice, and the second time from an older checkpoint than the last."""
    recipe, output = write_recipe(tmp_path / "recipe", optimizer=optimizer), tmp_path / "parts" / "shapes"
    uninterrupted = brief if optimizer == "adamw" else train(recipe, data, tmp_path / "whole" / "shapes")
    checkpoint = work_of(output) / "checkpoint-0.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, output, stop=8)
    after_5 = checkpoint.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, output, resume=True, stop=11)
    assert not output.exists()
    assert {path.name for path in output.parent.iterdir()} == {"shapes.training"}
    assert [record["step"] for record in curve_of(output)] == [5, 10]
    checkpoint.write_bytes(after_5)
    resumed = train(recipe, data, output, resume=True)
    assert [done for stage, done, _ in resumed.reports if stage == "train"] == list(range(6, 13))
    for mine, theirs in (
        (resumed.folder / WEIGHTS, uninterrupted.folder / WEIGHTS),
        (checkpoint, work_of(uninterrupted.folder) / checkpoint.name),
    ):
        assert_same_tensors(mine, theirs)
    assert (resumed.folder / CALIBRATION).read_bytes() == (uninterrupted.folder / CALIBRATION).read_bytes()
    timeless = [
        [{**record, "seconds": 0} for record in curve_of(folder)] for folder in (resumed.folder, uninterrupted.folder)
    ]
    assert timeless[0] == timeless[1]


def test_a_training_from_the_start_begins_a_new_curve(brief: Training, data: Path, tmp_path: Path) -> None:
    work = work_of(tmp_path / "shapes")
    work.mkdir()
    (work / CURVE).write_text('{"step": 5, "seconds": 1.0}\n{"step": 10, "sec')
    with pytest.raises(KeyboardInterrupt):
        train(write_recipe(tmp_path / "recipe"), data, tmp_path / "shapes", stop=5)
    assert [record["full"] for record in curve_of(tmp_path / "shapes")] == [curve_of(brief.folder)[0]["full"]]


def test_a_process_killed_while_it_writes_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-0.safetensors"
    with subprocess.Popen([sys.executable, "-c", ENDLESS_WRITER, path]) as writer:
        try:
            while writer.poll() is None and not (path.exists() and [*tmp_path.glob(".checkpoint*")]):
                time.sleep(1e-3)
        finally:
            writer.kill()
    network = nn.Linear(1000, 1000)
    state = TrainingState(
        modules={"network": network},
        optimizers=[torch.optim.AdamW(network.parameters())],
        images=torch.Generator(),
        tasks=np.random.default_rng(),
    )
    step, _ = load_checkpoint(path, state)
    assert step >= 1
    assert network.weight.unique().tolist() == [float(step)], "weights of another step"


def test_parts_of_a_batch_train_as_the_whole_does(data: Path, tmp_path: Path) -> None:
    """Once statistics are frozen; until then each part has its own."""
    dataset = read_parquet(data, "train", image_size=SIZE, labels=len(LABELS))
    sides = split_by_group(dataset, held_out=0.25, seed=1)

    def trainer_of(accumulate: int) -> Trainer:
        recipe = write_recipe(tmp_path / "recipe", steps=8, warmup_steps=5, accumulate=accumulate)
        vocabulary = Vocabulary.load(recipe.with_name("vocabulary.json"))
        return Trainer(Recipe.load(recipe), vocabulary, *sides, tmp_path)

    def interrupt(_stage: str, step: int, _figures: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer_of(1).run(interrupt, resume=False)
    checkpoint = tmp_path / "checkpoint-0.safetensors"
    after_warmup = checkpoint.read_bytes()
    ends = []
    for accumulate in (1, 2, 4):
        checkpoint.write_bytes(after_warmup)
        trainer_of(accumulate).run(lambda *_: None, resume=True)
        ends.append(load(checkpoint.read_bytes()))
    start = load(after_warmup)
    weights = [name for name in start if name.startswith("supernet.")]
    assert max((ends[0][name] - start[name]).abs().max() for name in weights) > 1e-3, "nothing was learnt"
    for name in weights:
        for end in ends[1:]:
            torch.testing.assert_close(end[name], ends[0][name], rtol=0, atol=2e-5, msg=name)


def test_frozen_statistics_are_those_of_pictures_as_they_come(data: Path, tmp_path: Path) -> None:
    """Not of brightened cut-outs: those have other moments, and whole pictures would be read through them."""
    recipe = write_recipe(tmp_path / "recipe", steps=6, warmup_steps=5)
    recipe.write_text(
        recipe.read_text().replace("scale = [0.9, 1.1]", "scale = [0.2, 0.3]").replace("light = 0.2", "light = 2.0")
    )
    dataset = read_parquet(data, "train", image_size=SIZE, labels=len(LABELS))
    train_side, held_out = split_by_group(dataset, held_out=0.25, seed=1)
    vocabulary = Vocabulary.load(recipe.with_name("vocabulary.json"))
    trainer = Trainer(Recipe.load(recipe), vocabulary, train_side, held_out, tmp_path)
    trainer.run(lambda *_: None, resume=False)

    stem = trainer.supernet.norm_stem
    pictures_NCHW = torch.from_numpy(train_side.x_NCHW).float() / 255
    with torch.no_grad():
        # The one step since has moved the stem by a thousandth.
        y_NCHW = convolve(pictures_NCHW, trainer.supernet.w_stem, 2)
    assert ((stem.mean[-1] - y_NCHW.mean((0, 2, 3))).abs() < 0.15 * y_NCHW.std((0, 2, 3))).all()


def test_fitting_anew_to_the_same_pictures_changes_nothing(brief: Training, data: Path, tmp_path: Path) -> None:
    refitted = refit_supernet(
        open_supernet(brief.folder), data, tmp_path / "again", overwrite=False, report=lambda *_: None
    )
    files = {path.name for path in brief.folder.iterdir()}
    assert {path.name for path in refitted.iterdir()} == files
    for file in files:
        assert (refitted / file).read_bytes() == (brief.folder / file).read_bytes(), file


def test_what_was_measured_before_a_stop_is_not_measured_again(brief: Training, data: Path, tmp_path: Path) -> None:
    folder, output = open_supernet(brief.folder), tmp_path / "again"
    measured: list[tuple[str, int]] = []

    def refit(data: Path, *, stop_at: str | None = None) -> None:
        measured.clear()

        def report(stage: str, done: int, _of: int, _figures: dict[str, float]) -> None:
            if stage == stop_at:
                raise KeyboardInterrupt
            if stage.startswith("measure"):
                measured.append((stage, done))

        refit_supernet(folder, data, output, overwrite=True, report=report)

    with pytest.raises(KeyboardInterrupt):
        refit(data, stop_at="measure, changed")
    stages = {stage for stage, _ in measured}
    each = len(measured) // len(stages)
    assert each > 1
    refit(data)
    assert {stage: sum(told == stage for told, _ in measured) for stage in stages} == dict.fromkeys(stages, 1)
    for file in (WEIGHTS, CARD):
        assert (output / file).read_bytes() == (brief.folder / file).read_bytes(), file

    for table in work_of(output).glob("measured-*"):
        table.write_bytes(table.read_bytes()[:100])
    refit(data)
    assert all(sum(told == stage for told, _ in measured) == each for stage in stages), "a damaged table was used"

    write_split(tmp_path / "data" / "train.parquet", tracks=6, seed=7)
    refit(tmp_path / "data")
    assert all(sum(told == stage for told, _ in measured) == each for stage in stages), "other pictures, an old answer"


def test_fitting_to_other_pictures_keeps_the_weights_alone(brief: Training, tmp_path: Path) -> None:
    write_split(tmp_path / "data" / "train.parquet", tracks=6, seed=7)
    folder = open_supernet(brief.folder)
    refitted = refit_supernet(folder, tmp_path / "data", tmp_path / "new", overwrite=False, report=lambda *_: None)
    mine, theirs = load_file(refitted / WEIGHTS), load_file(brief.folder / WEIGHTS)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine if key.startswith("supernet."))
    assert not torch.equal(mine["predictor.base"], theirs["predictor.base"])
    with pytest.raises(UsageError, match="exists"):
        refit_supernet(folder, tmp_path / "data", refitted, overwrite=False, report=lambda *_: pytest.fail("read"))


def test_bfloat16_learns_as_float32_does_but_for_its_rounding(brief: Training, data: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe", bfloat16=True)
    train(recipe, data, tmp_path / "shapes")
    for rounded, exact in zip(curve_of(tmp_path / "shapes"), curve_of(brief.folder), strict=True):
        assert rounded["full"] != exact["full"]
        assert rounded["full"] == pytest.approx(exact["full"], rel=0.1)


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
    checkpoint = work_of(brief.folder) / "checkpoint-0.safetensors"
    (work / checkpoint.name).write_bytes(checkpoint.read_bytes())
    wider = write_recipe(tmp_path / "recipe", stem_channels=12)
    with pytest.raises(BadInputError, match="not a checkpoint of this recipe"):
        train(wider, data, tmp_path / "shapes", resume=True)


def test_a_truncated_checkpoint_is_refused(brief: Training, data: Path, tmp_path: Path) -> None:
    work = tmp_path / "shapes.training"
    work.mkdir()
    checkpoint = work_of(brief.folder) / "checkpoint-0.safetensors"
    (work / checkpoint.name).write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(BadInputError, match="not a checkpoint"):
        train(write_recipe(tmp_path / "recipe"), data, tmp_path / "shapes", resume=True)


def test_a_label_without_images_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "data" / "train.parquet", tracks=2, seed=0, labels=(0, 1, 3, 4, 5))
    with pytest.raises(BadInputError, match='no image of label 2 "red cross"'):
        train(write_recipe(tmp_path / "recipe"), tmp_path / "data", tmp_path / "shapes")
    assert not (tmp_path / "shapes").exists()


def test_a_label_of_a_single_track_is_refused(tmp_path: Path) -> None:
    """Held out, it would be measured and never learnt."""
    write_split(tmp_path / "data" / "train-0.parquet", tracks=3, seed=0, labels=(0, 1, 2, 3, 4))
    write_split(tmp_path / "data" / "train-1.parquet", tracks=1, seed=0, labels=(5,))
    with pytest.raises(BadInputError, match=r'a single group .* of label 5 "blue cross"'):
        train(write_recipe(tmp_path / "recipe"), tmp_path / "data", tmp_path / "shapes")


def test_the_curve_is_kept(brief: Training) -> None:
    """In the warm-up there is the full network alone, at the image size that it has reached."""
    curve = curve_of(brief.folder)
    assert [record["step"] for record in curve] == [5, 10, 12]
    fronts = [{name for name in record if name.startswith("acc_")} for record in curve]
    every = {f"acc_{part}@{size}" for part in ("full", "3%", "10%", "25%") for size in (8, 16)}
    assert fronts == [{"acc_full@8"}, every, every]
    assert all(0 <= record[name] <= 1 for record, front in zip(curve, fronts, strict=True) for name in front)
