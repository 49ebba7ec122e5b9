"""run.py of a build folder, copied to the emulated Raspberry Pi and started there as anybody would start it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from board_clients import Board, on_board, python_of, run, ssh, ssh_options
from PIL import Image

from edgekit.core.errors import MissingExtraError
from edgekit.pipeline.build import build
from edgekit.pipeline.predict import predict

pytestmark = pytest.mark.hil
# Of int8, a step of the softmax, which rounds otherwise on Arm; of fp32, as tests/hil/test_board_runtimes.py.
TOLERANCES = {"rpi4:tflite-int8": 1 / 256, "rpi4:onnx-fp32": 1e-5, "rpi4:tvm-fp32": 1e-5}


@pytest.mark.parametrize("target", TOLERANCES)
def test_it_answers_as_predict_does_here(
    target: str, boards: dict[str, Board], tiny_supernet: Path, stripes: dict[str, Path], tmp_path: Path
) -> None:
    try:
        folder = build(
            task="red rows, blue columns", model=tiny_supernet, target=target, output=tmp_path / "out"
        ).folder
    except MissingExtraError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    for picture in stripes.values():
        shutil.copy(picture, folder)
    turned = Image.Exif()
    turned[0x112] = 8
    noise = np.random.default_rng(2).integers(0, 256, (40, 90, 3), np.uint8)
    Image.fromarray(noise).save(folder / "turned.jpg", exif=turned)
    names = sorted(path.name for pattern in ("*.png", "*.jpg") for path in folder.glob(pattern))

    board = boards["lab"]
    there = f"{board['workspace']}/{target.replace(':', '-')}"
    assert run(["scp", "-r", "-q", *ssh_options(board), folder, on_board(board, there)]).returncode == 0
    done = ssh(board, f"cd {there}; {python_of(board)} run.py --json {' '.join(names)}", timeout_s=240)
    assert done.returncode == 0, done.stderr

    answers = json.loads(done.stdout)["predictions"]
    for answer, name, expected in zip(answers, names, predict(folder, [folder / name for name in names]), strict=True):
        assert answer["file"] == name
        assert answer["label"] == expected.label
        assert answer["probability"] == pytest.approx(expected.probability, abs=TOLERANCES[target])
