"""The command on pictures of one's own: from folders to a supernet."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapes_training
from PIL import Image
from shapes_training import LABELS, draw, write_recipe

from edgekit.cli.main import main
from edgekit.core.errors import ExitCode
from edgekit.pipeline.evaluate import evaluate
from edgekit.supernet.storage import open_supernet


@pytest.fixture(scope="module", autouse=True)
def fewer_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for constant, value in shapes_training.FEWER.items():
            patch.setattr(*shapes_training.module_and_name(constant), value)
        yield


@pytest.fixture(autouse=True)
def signals_restored() -> Iterator[None]:
    """A command that has ended ignores what would interrupt it, and here its process goes on."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight pictures of each shape below `train`, and a text among them that calls itself a picture."""
    rng = np.random.default_rng(0)
    for index, label in enumerate(LABELS):
        folder = tmp_path / "data" / "train" / label
        folder.mkdir(parents=True)
        for number in range(8):
            Image.fromarray(draw(index, rng)).save(folder / f"{number}.png")
    (tmp_path / "data" / "train" / LABELS[1] / "text.jpg").write_text("no picture")
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = write_recipe(tmp_path / "recipe", steps=6, warmup_steps=3)
    (path.parent / "vocabulary.json").unlink()
    return path


def test_folders_of_pictures_become_a_supernet(
    data: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine"
    command = ["models", "train", str(recipe), "--data", str(data), "-o", str(output)]
    assert main(command) == ExitCode.BAD_INPUT
    assert f"{LABELS[1]}/text.jpg" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"data", "recipe"}, "refused before anything is written"

    assert main([*command, "--skip-bad"]) == ExitCode.OK
    told = capsys.readouterr().err
    for words in ("left out", f"{LABELS[1]}/text.jpg", "vocabulary was made", "fewer than 20 images"):
        assert words in told
    folder = open_supernet(output)
    assert [label.name for label in folder.vocabulary.labels] == sorted(LABELS)
    training = folder.card["training"]
    assert training["train_images"] + training["held_out_images"] == 8 * len(LABELS)
    (data / "train" / LABELS[1] / "text.jpg").unlink()
    assert evaluate(output, data, split="train").images == 8 * len(LABELS)


def test_data_can_be_checked_without_training(
    data: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["models", "check-data", str(recipe), "--data", str(data)]
    assert main(command) == ExitCode.BAD_INPUT
    shown = capsys.readouterr()
    assert "with 8 to 8 images" in shown.out
    assert f"{LABELS[1]}/text.jpg" in shown.err
    assert main([*command, "--skip-bad", "--json"]) == ExitCode.OK
    record = json.loads(capsys.readouterr().out)
    assert (record["images"], len(record["unreadable"]), len(record["counts"])) == (48, 1, 6)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "recipe"}


@pytest.mark.parametrize("number", [2, 3])
def test_a_few_plain_classes_are_enough(data: Path, recipe: Path, tmp_path: Path, number: int) -> None:
    for label in LABELS[number:]:
        shutil.rmtree(data / "train" / label)
    output = tmp_path / "mine"
    assert main(["models", "train", str(recipe), "--data", str(data), "-o", str(output), "--skip-bad", "-q"]) == 0
    assert len(open_supernet(output).vocabulary) == number
