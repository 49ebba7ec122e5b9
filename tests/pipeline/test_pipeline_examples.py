"""Own classes, from folders of pictures to a build that recognises them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.quantity import Evidence
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.examples import read_examples
from edgekit.pipeline.plan import plan
from edgekit.pipeline.predict import predict
from edgekit.pipeline.result import BuildResult
from edgekit.pipeline.variants import plan_variants

CLASSES = {"half blue": ([30, 30, 200], 7), "half yellow": ([200, 190, 20], 5)}
SIZE = 16


def picture(colour: list[int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """None of the supernet's stripes: a coloured half on grey, whichever half."""
    x_HWC = rng.integers(70, 110, (32, 32, 3), np.uint8)
    half = x_HWC[:16] if rng.random() < 0.5 else x_HWC[16:]
    half[:] = np.clip(np.array(colour) + rng.integers(-15, 16, half.shape), 0, 255)
    return x_HWC


def save(x_HWC: NDArray[np.uint8], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(x_HWC).save(path)
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    for name, (colour, count) in CLASSES.items():
        for number in range(count):
            save(picture(colour, rng), tmp_path / "my_parts" / name / f"{number}.png")
    return tmp_path / "my_parts"


@pytest.fixture
def built(parts: Path, tiny_supernet: Path, tmp_path: Path) -> BuildResult:
    return build(examples=parts, model=tiny_supernet, budget=Budget(macs=Share(fraction=0.6)), output=tmp_path / "out")


def test_own_classes_are_built_recognised_and_reported(built: BuildResult, parts: Path, tmp_path: Path) -> None:
    assert built.labels == tuple(CLASSES)
    assert (built.folder / "labels.txt").read_text().splitlines() == list(CLASSES)
    rng = np.random.default_rng(6)
    unseen = {
        str(save(picture(colour, rng), tmp_path / "unseen" / f"{name} {n}.png")): name
        for name, (colour, _) in CLASSES.items()
        for n in range(4)
    }
    answers = {found.file: found.label for found in predict(built.folder, list(map(Path, unseen)))}
    assert answers == unseen

    accuracy = built.figure("accuracy")
    assert accuracy.evidence is Evidence.MEASURED
    assert accuracy.source.startswith("leave-one-out on 12 pictures of my_parts")
    assert accuracy.interval is not None
    low, high = accuracy.interval
    assert low < 0.8 < accuracy.value <= high

    record: dict[str, Any] = json.loads((built.folder / "report.json").read_text())
    assert record["own_classes"]["pictures"] == {"half blue": 7, "half yellow": 5}
    assert set(record["own_classes"]["leave_one_out_recalls"]) == set(CLASSES)
    task = record["plan"]["task"]
    assert (task["kind"], task["outputs"], task["examples"]) == ("own classes", list(CLASSES), str(parts))
    assert record["plan"]["calibration"] == "the examples"
    assert "examples" in record["stages_s"]

    card = (built.folder / "card.md").read_text()
    assert card.startswith("# my_parts: half blue, half yellow\n")
    assert "| half yellow | 5 | " in card
    assert "| accuracy | " in card
    assert " | measured | leave-one-out on 12 pictures" in card
    assert verify(built.folder).checks


def test_the_plan_changes_with_the_pixels_and_not_with_copies(parts: Path, tiny_supernet: Path) -> None:
    def planned() -> dict[str, Any]:
        return dict(plan(examples=parts, model=tiny_supernet).to_json()["task"])

    before = planned()
    shutil.copy(parts / "half blue" / "0.png", parts / "half blue" / "zz copy.png")
    with_copy = planned()
    assert with_copy["copies"] == before["copies"] + 1
    assert with_copy["pictures"] == before["pictures"]
    assert with_copy["pixels_sha256"] == before["pixels_sha256"]
    (parts / "half blue" / "0.png").unlink()
    (parts / "half blue" / "zz copy.png").unlink()
    assert planned()["pixels_sha256"] != before["pixels_sha256"]


def test_pictures_are_read_in_the_order_of_their_classes(parts: Path) -> None:
    examples = read_examples(parts, size=SIZE, most_classes=6)
    assert examples.pictures == {"half blue": 7, "half yellow": 5}
    assert examples.x_NHWC.shape == (12, SIZE, SIZE, 3)
    blue, yellow = (examples.x_NHWC[examples.y_N == c].mean((0, 1, 2)) for c in (0, 1))
    assert blue[2] > yellow[2]
    assert blue[0] < yellow[0]


def same_in_both(parts: Path) -> None:
    shutil.copy(parts / "half blue" / "3.png", parts / "half yellow" / "other.png")


def one_class(parts: Path) -> None:
    shutil.rmtree(parts / "half blue")


def one_picture(parts: Path) -> None:
    """And a copy of it, which does not count."""
    for path in sorted((parts / "half blue").iterdir())[1:]:
        path.unlink()
    shutil.copy(parts / "half blue" / "0.png", parts / "half blue" / "1.png")


def broken(parts: Path) -> None:
    for name in CLASSES:
        (parts / name / "broken.jpg").write_bytes(b"no picture")


def stray(parts: Path) -> None:
    shutil.copy(parts / "half blue" / "0.png", parts / "stray.png")


def empty(parts: Path) -> None:
    (parts / "nothing yet").mkdir()


def too_many(parts: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        save(picture([9, 9, 9], rng), parts / f"class {number}" / "1.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (same_in_both, ("half blue/3.png", "half yellow/other.png", "the same")),
        (one_class, ("1 classes", "expected 2 to 6")),
        (one_picture, ('"half blue"', "only one picture")),
        (broken, ("half blue/broken.jpg", "half yellow/broken.jpg")),
        (stray, ("stray.png",)),
        (empty, ("nothing yet",)),
        (too_many, ("8 classes", "expected 2 to 6")),
        (shutil.rmtree, ("my_parts is not a folder",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_unusable_examples_are_named(
    parts: Path, tiny_supernet: Path, change: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    change(parts)
    with pytest.raises(BadInputError) as caught:
        plan(examples=parts, model=tiny_supernet)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.hint


def test_contradictions_are_refused(parts: Path, tiny_supernet: Path) -> None:
    for wrong, word in (
        ({"task": "red rows, blue rows"}, "both"),
        ({"presence": True}, "--presence"),
        ({"grouped": True}, "--grouped"),
        ({"other": True}, "--other"),
        ({"budget": Budget(min_accuracy=0.9)}, "--min-accuracy"),
    ):
        with pytest.raises(UsageError, match=word):
            plan(examples=parts, model=tiny_supernet, **wrong)
    with pytest.raises(UsageError, match="neither"):
        plan(model=tiny_supernet)
    with pytest.raises(UsageError, match="own classes"):
        plan_variants(variants="1,2ms", examples=parts, model=tiny_supernet)
