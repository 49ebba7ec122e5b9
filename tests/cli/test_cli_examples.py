"""Own classes by the command line."""

from __future__ import annotations

import numpy as np
import pytest
from edgekit_command import assert_fails, edgekit, edgekit_json
from PIL import Image

from edgekit.core.errors import ExitCode


@pytest.fixture
def parts(tmp_path):
    """Green pictures and purple ones, five each."""
    rng = np.random.default_rng(3)
    for name, colour in {"leaf": (40, 180, 40), "plum": (150, 40, 160)}.items():
        (tmp_path / "my_parts" / name).mkdir(parents=True)
        for number in range(5):
            pixels = np.clip(np.array(colour) + rng.integers(-40, 40, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my_parts" / name / f"{number}.png")
    return tmp_path / "my_parts"


def test_a_few_pictures_make_a_model_that_tells_them_apart(parts, tiny_supernet, tmp_path):
    out = tmp_path / "out"
    done = edgekit("build", "--model", tiny_supernet, "--examples", parts, "-o", out)
    assert done.returncode == 0, done.stderr
    accuracy = next(line for line in done.stdout.splitlines() if line.startswith("accuracy"))
    assert "measured" in accuracy
    assert "leave-one-out on 10 pictures" in accuracy
    assert "leaf, plum" in done.stdout
    paths = sorted(parts.rglob("*.png"))
    answers = edgekit_json("predict", out, *paths)["predictions"]
    assert [answer["label"] for answer in answers] == [path.parent.name for path in paths]


def test_a_dry_run_reads_the_examples(parts, tiny_supernet, tmp_path):
    arguments = ("build", "--model", tiny_supernet, "--examples", parts, "--dry-run")
    planned = edgekit_json(*arguments)
    assert planned["task"]["pictures"] == {"leaf": 5, "plum": 5}
    assert "own classes" in edgekit(*arguments).stdout
    assert [path.name for path in tmp_path.iterdir()] == ["my_parts"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--task", "red rows"), ("--task", "both")),
        (("--presence",), ("--presence",)),
        (("--grouped",), ("--grouped",)),
        (("--min-accuracy", "0.9"), ("--min-accuracy", "--latency-ms")),
    ],
    ids=lambda value: value[0],
)
def test_what_own_classes_cannot_be_asked_with(parts, tiny_supernet, more, words):
    done = edgekit("build", "--model", tiny_supernet, "--examples", parts, "--dry-run", *more)
    assert_fails(done, ExitCode.USAGE, *words)
