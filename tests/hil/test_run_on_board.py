"""run.py of a build folder, copied to an emulated Raspberry Pi and started there as anybody would start it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import MissingExtraError
from edgekit.devices.boards.board import SshBoard, load_board
from edgekit.devices.boards.ssh import SshTransport
from edgekit.pipeline.build import build
from edgekit.pipeline.predict import predict

pytestmark = pytest.mark.hil
# Of int8, a step of the softmax, which rounds otherwise on Arm; of fp32, as tests/hil/test_board_runtimes.py.
TOLERANCES = {"rpi4:tflite-int8": 1 / 256, "rpi4:onnx-fp32": 1e-5, "rpi4:tvm-fp32": 1e-5}


@pytest.fixture(autouse=True)
def lab(lab_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, lab_environment[name])


@pytest.fixture(scope="module")
def pictures(stripes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Large, small, transparent and turned."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(2)
    turned = Image.Exif()
    turned[0x112] = 8
    Image.fromarray(rng.integers(0, 256, (40, 90, 3), np.uint8)).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(rng.integers(0, 256, (20, 11, 4), np.uint8)).save(folder / "transparent.png")
    return [*stripes.values(), *sorted(folder.iterdir())]


@pytest.mark.parametrize("target", TOLERANCES)
def test_it_answers_as_predict_does_here(
    target: str, tiny_supernet: Path, pictures: list[Path], tmp_path: Path
) -> None:
    try:
        folder = build(
            task="red rows, blue columns", model=tiny_supernet, target=target, output=tmp_path / "out"
        ).folder
    except MissingExtraError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    board = load_board("lab")
    assert isinstance(board, SshBoard)
    there = f"{board.workspace}/{folder.name}"
    transport = SshTransport(board)
    try:
        for path in (path for path in sorted(folder.rglob("*")) if path.is_file()):
            transport.push(path, f"{there}/{path.relative_to(folder)}")
        for picture in pictures:
            transport.push(picture, f"{there}/{picture.name}")
        names = [f"{there}/{picture.name}" for picture in pictures]
        done = transport.exec([*board.python, f"{there}/run.py", "--json", *names], timeout_s=120)
        nowhere = transport.exec([*board.python, f"{there}/run.py", "nowhere.png"], timeout_s=120)
    finally:
        transport.close()
    assert done.code == 0, done.stderr
    answers = json.loads(done.stdout)["predictions"]
    for answer, name, expected in zip(answers, names, predict(folder, pictures), strict=True):
        assert answer["file"] == name
        assert answer["probability"] == pytest.approx(expected.probability, abs=TOLERANCES[target])
        assert answer["label"] == expected.label
    assert nowhere.code == 9
    assert "run.py: cannot read the picture nowhere.png" in nowhere.stderr
