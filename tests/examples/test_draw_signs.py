import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = (
    "stop",
    "yield",
    "no_entry",
    "speed_limit_30",
    "speed_limit_80",
    "priority_road",
    "keep_left",
    "general_caution",
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signs") / "new"
    subprocess.run([sys.executable, EXAMPLES / "draw_signs.py", "-o", folder], check=True)
    return folder


def test_the_script_draws_exactly_the_examples(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {path.name for path in EXAMPLES.glob("*.png")}
    assert {path.stem for path in drawn.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_reproduced(drawn: Path, name: str) -> None:
    with Image.open(EXAMPLES / f"{name}.png") as shipped, Image.open(drawn / f"{name}.png") as again:
        assert (shipped.format, shipped.mode, shipped.size) == ("PNG", "RGB", (96, 96))
        np.testing.assert_array_equal(np.asarray(again), np.asarray(shipped))


def test_drawing_twice_gives_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLES / "draw_signs.py"))["main"](["-o", str(tmp_path)])
    for name in NAMES:
        assert (tmp_path / f"{name}.png").read_bytes() == (drawn / f"{name}.png").read_bytes()
