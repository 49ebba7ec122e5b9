"""What a build folder holds for a board: run.py alone gives the answers of predict, and the rest of the kit is of this build."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from board_program import answers_of_predict, answers_of_run, run_program
from colour_networks import of_three_colours
from PIL import Image
from safetensors.torch import save_file

import edgekit
from edgekit.core.errors import MissingExtraError, VerificationError
from edgekit.core.images import open_image
from edgekit.deploy.kit import write_kit
from edgekit.deploy.network import Networks, networks_of
from edgekit.deploy.single_file import single_file
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.result import BuildResult

PROGRAMS = Path(sys.modules["edgekit.deploy.kit"].__file__ or "").parent / "programs"
ORIENTATION = 0x112


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of every kind that a user may have: larger and smaller, transparent, grey, turned, of few colours, of 16 bits."""
    folder, rng = tmp_path_factory.mktemp("kinds"), np.random.default_rng(5)

    def blurred(width: int, height: int, channels: int = 3) -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, (4, 4, channels), np.uint8).squeeze()).resize((width, height))

    turned = Image.Exif()
    turned[ORIENTATION] = 6
    blurred(83, 61).save(folder / "wide.png")
    blurred(40, 200).save(folder / "tall.jpg")
    blurred(7, 5).save(folder / "tiny.bmp")
    blurred(50, 90).save(folder / "turned.jpg", exif=turned)
    blurred(30, 30, 4).save(folder / "transparent.png")
    blurred(33, 20, 1).save(folder / "grey.webp", lossless=True)
    blurred(64, 64).quantize(16).save(folder / "colours.gif", transparency=3)
    Image.fromarray((rng.random((30, 44)) * 65535).astype(np.uint16)).save(folder / "bits.png")
    return sorted(folder.iterdir())


def test_run_py_answers_as_predict_does(built: BuildResult, pictures: list[Path]) -> None:
    answers = answers_of_run(built.folder, *pictures)
    assert answers == answers_of_predict(built.folder, pictures)
    assert len({answer["probability"] for answer in answers}) > 4


def test_so_it_does_for_onnx(tiny_supernet: Path, pictures: list[Path], tmp_path: Path) -> None:
    """Of all runtimes: tests/pipeline/test_pipeline_early_exit.py."""
    try:
        folder = build(
            task="colour=red", grouped=True, model=tiny_supernet, target="rpi4:onnx", output=tmp_path / "o"
        ).folder
    except MissingExtraError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    assert answers_of_run(folder, "--threads", "2", *pictures) == answers_of_predict(folder, pictures, threads=2)
    assert run_program(folder, "--variant", "fast", pictures[0]).returncode == 2


def test_presence_is_answered_too(presence_build: BuildResult, pictures: list[Path]) -> None:
    answers = answers_of_run(presence_build.folder, *pictures)
    assert answers == answers_of_predict(presence_build.folder, pictures)
    assert {answer["label"] for answer in answers} <= set(presence_build.labels)


def test_without_json_it_prints_a_line_each(int8_build: BuildResult, stripes: dict[str, Path]) -> None:
    label = int8_build.labels[0]
    (said,) = answers_of_run(int8_build.folder, stripes[label])
    done = run_program(int8_build.folder, stripes[label])
    assert done.stdout.startswith(f"{label}  {said['probability']:.3f}  ")
    assert done.stdout.endswith(f" ms  {stripes[label]}\n")


def _without_model(folder: Path) -> None:
    (folder / "model.tflite").unlink()


def _cut(folder: Path) -> None:
    content = (folder / "model.tflite").read_bytes()
    (folder / "model.tflite").write_bytes(content[: len(content) // 2])


def _damaged_program(folder: Path) -> None:
    (folder / "early_exit.json").write_text('{"threshold": 0.5}')


def _untouched(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("arguments", "absent", "change", "code", "says"),
    [
        (["nowhere.png"], (), _untouched, 9, "cannot read the picture nowhere.png: No such file"),
        (["{folder}/labels.txt"], (), _untouched, 9, "cannot identify image file"),
        (["{picture}"], ("PIL",), _untouched, 8, "Pillow is missing (pillow): deploy/README.md says"),
        (
            ["{picture}"],
            ("ai_edge_litert", "tflite_runtime"),
            _untouched,
            8,
            "LiteRT is missing (ai-edge-litert): deploy/README.md says",
        ),
        (["{picture}"], ("numpy",), _untouched, 8, "numpy is missing: deploy/README.md says"),
        (["{picture}"], (), _without_model, 9, "model.tflite does not exist"),
        (["{picture}"], (), _cut, 9, "model.tflite cannot be opened"),
        (["{picture}"], (), _damaged_program, 9, "early_exit.json is damaged"),
        (["--camera"], ("cv2", "picamera2"), _untouched, 8, "sudo apt install python3-picamera2"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    damaged: Path,
    stripes: dict[str, Path],
    arguments: list[str],
    absent: tuple[str, ...],
    change: Callable[[Path], None],
    code: int,
    says: str,
) -> None:
    change(damaged)
    picture = next(iter(stripes.values()))
    given = [argument.format(folder=damaged, picture=picture) for argument in arguments]
    done = run_program(damaged, *given, absent=absent)
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("run.py: ")
    assert says in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["a.png", "--camera"], ["a.png", "--threads", "0"], ["--camera", "--every", "-1"]]
)
def test_wrong_arguments_are_refused(int8_build: BuildResult, arguments: list[str]) -> None:
    done = run_program(int8_build.folder, *arguments)
    assert done.returncode == 2
    assert "usage: run.py" in done.stderr


OPENCV = """
import numpy as np

CAP_PROP_BUFFERSIZE = 38

class VideoCapture:
    def __init__(self, device):
        self._device, self._left = device, 3

    def set(self, what, value):
        assert (what, value) == (CAP_PROP_BUFFERSIZE, 1)

    def isOpened(self):
        return self._device in (0, "/dev/video2")

    def grab(self):
        return True

    def read(self):
        self._left -= 1
        return self._left >= 0, np.load({picture!r})[:, :, ::-1]  # BGR

    def release(self):
        pass
"""
PICAMERA2 = """
import numpy as np

class Picamera2:
    @staticmethod
    def global_camera_info():
        return [{{"Num": 0}}]

    def create_preview_configuration(self, main):
        assert main["format"] == "BGR888"  # its name for RGB
        return main

    def configure(self, configuration):
        self._left = 3

    def start(self):
        pass

    def stop(self):
        print("stopped")

    def capture_array(self):
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return np.load({picture!r})
"""


@pytest.mark.parametrize(
    ("library", "source", "device", "code"),
    [("cv2", OPENCV, [], 9), ("cv2", OPENCV, ["/dev/video2"], 9), ("picamera2", PICAMERA2, [], 130)],
)
def test_what_a_camera_sees_is_answered_as_a_picture(
    library: str,
    source: str,
    device: list[str],
    code: int,
    int8_build: BuildResult,
    pictures: list[Path],
    tmp_path: Path,
) -> None:
    """The libraries of cameras are stand-ins here, that give three pictures: the first of them is the picture of a file."""
    (wide,) = (path for path in pictures if path.name == "wide.png")
    np.save(tmp_path / "frame.npy", np.asarray(open_image(wide, name="wide")))
    (tmp_path / f"{library}.py").write_text(source.format(picture=str(tmp_path / "frame.npy")))
    absent = [other for other in ("cv2", "picamera2") if other != library]
    done = run_program(int8_build.folder, "--camera", *device, "--every", "0", "--json", absent=absent, found=tmp_path)
    assert done.returncode == code, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    (expected,) = answers_of_predict(int8_build.folder, [wide])
    assert [(one["label"], one["probability"]) for one in said] == [(expected["label"], expected["probability"])] * 3
    assert ("stopped" in done.stdout) == (library == "picamera2")
    if library == "cv2":
        assert "gives no more pictures" in done.stderr


def test_a_camera_that_is_not_there_is_named(int8_build: BuildResult, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(OPENCV.format(picture=""))
    done = run_program(int8_build.folder, "--camera", "/dev/video9", absent=["picamera2"], found=tmp_path)
    assert done.returncode == 9
    assert "no camera answers at /dev/video9" in done.stderr


@pytest.mark.parametrize("runtime", ["tflite", "onnx", "tvm"])
def test_run_py_is_one_clean_file_for_python_3_9(runtime: str, tmp_path: Path) -> None:
    sections = ("refusal", f"network_{runtime}", "pictures", "camera", "run")
    text = single_file([PROGRAMS / f"{section}.py" for section in sections])
    tree = ast.parse(text, feature_version=(3, 9))
    assert "edgekit." not in {f"{node.module}." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    program = tmp_path / "run.py"
    program.write_text(text)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--target-version", "py39", "--line-length", "132"]
    rules = "E,F,I,UP,W,PIE,RUF100"
    done = subprocess.run([*ruff, "--select", rules, str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_kit_is_part_of_what_is_verified(damaged: Path) -> None:
    report = json.loads((damaged / "report.json").read_text())
    kit = {"run.py", "deploy/README.md", "deploy/classify.cpp", "deploy/Classifier.kt"}
    assert kit < report["sha256"].keys()
    (damaged / "deploy" / "README.md").write_text("changed")
    with pytest.raises(VerificationError, match=r"deploy/README\.md has changed"):
        verify(damaged)


def test_the_same_build_has_the_same_kit(damaged: Path, int8_build: BuildResult) -> None:
    shutil.rmtree(damaged / "deploy")
    write_kit(damaged)
    again = {path.name: path.read_bytes() for path in (damaged / "deploy").iterdir()}
    assert again == {path.name: path.read_bytes() for path in (int8_build.folder / "deploy").iterdir()}
    assert len(again) == 4


def test_snippets_name_this_build(built: BuildResult) -> None:
    networks = networks_of(built.folder)
    assert isinstance(networks, Networks)
    (network,) = networks.stages
    assert network.input.is_int8 == ("int8" in str(built.plan.target))
    for name in ("classify.cpp", "Classifier.kt"):
        text = (built.folder / "deploy" / name).read_text()
        assert all(f'"{label}"' in text for label in built.labels)
        assert "@" not in text.replace("@Suppress", "")
    instructions = (built.folder / "deploy" / "README.md").read_text()
    assert "ai-edge-litert==" in instructions
    assert "@" not in instructions.replace("pi@raspberrypi.local", "")


@pytest.fixture(scope="session")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network from elsewhere in int8: scores in place of probabilities, pictures normalised, labels that nobody expects."""
    folder, rng = tmp_path_factory.mktemp("compressed"), np.random.default_rng(8)
    for channel, label in enumerate(('gr"een', "100 % $blue", "red")):
        (folder / "data" / label).mkdir(parents=True)
        for number in range(12):
            x_HWC = rng.integers(0, 90, (20, 28, 3), np.uint8)
            x_HWC[:, :, channel] += 120
            Image.fromarray(x_HWC).save(folder / "data" / label / f"{number}.png")
    weights = folder / "weights.safetensors"
    save_file(of_three_colours().state_dict(), weights)
    return edgekit.compress(
        "colour_networks:of_three_colours",
        weights=weights,
        input_shape=(3, 16, 16),
        data=folder / "data",
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
        target="rpi4:tflite-int8",
        passes=["fold::batch_norm"],
        output=folder / "out",
    ).folder


def test_a_network_from_elsewhere_is_answered_for(compressed: Path, pictures: list[Path]) -> None:
    answers = answers_of_run(compressed, *pictures)
    assert answers == answers_of_predict(compressed, pictures)
    assert min(answer["probability"] for answer in answers) >= 1 / 3
    assert (compressed / "deploy" / "edgekit-100-blue-gr-een-red.service").is_file()
    assert (
        "Description=100-blue-gr-een-red: 100 %% $blue" in next((compressed / "deploy").glob("*.service")).read_text()
    )
    assert '"100 % \\$blue"' in (compressed / "deploy" / "Classifier.kt").read_text()


def test_and_so_it_is_in_cpp(
    compressed: Path, compiled: Callable[[Path], Path], pictures: list[Path], tmp_path: Path
) -> None:
    given = [tmp_path / f"{picture.stem}.ppm" for picture in pictures]
    for picture, path in zip(pictures, given, strict=True):
        open_image(picture, name=str(picture)).save(path)
    done = subprocess.run(
        [str(compiled(compressed)), "--model", str(compressed), *map(str, given)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line.split("\t") for line in done.stdout.splitlines()]
    expected = answers_of_predict(compressed, given)
    assert [label for label, *_ in said] == [answer["label"] for answer in expected]
    probabilities = [answer["probability"] for answer in expected]
    np.testing.assert_allclose([float(p) for _, p, *_ in said], probabilities, rtol=1e-6)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """classify.cpp of a .tflite build, as deploy/README.md has it compiled."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    litert = Path(sys.modules["ai_edge_litert"].__path__[0])

    @cache
    def program_of(folder: Path) -> Path:
        program = tmp_path_factory.mktemp("classify") / "classify"
        compiler = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(program)]
        library = [str(litert / "libLiteRt.so"), f"-Wl,-rpath,{litert}"]
        subprocess.run([*compiler, str(folder / "deploy" / "classify.cpp"), *library], check=True)
        return program

    return program_of


def test_the_program_in_cpp_answers_the_same(
    built: BuildResult, compiled: Callable[[Path], Path], pictures: list[Path], tmp_path: Path
) -> None:
    """Of files, and of pictures of many sizes and shapes: its way to resize them is Pillow's."""
    rng = np.random.default_rng(11)
    given = []
    for picture in pictures:
        given.append(tmp_path / f"{picture.stem}.ppm")
        open_image(picture, name=str(picture)).save(given[-1])
    for number in range(40):
        width, height = rng.integers(1, 120, 2)
        given.append(tmp_path / f"{number}.ppm")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(given[-1])
    done = subprocess.run(
        [str(compiled(built.folder)), "--model", str(built.folder), *map(str, given)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line.split("\t") for line in done.stdout.splitlines()]
    expected = answers_of_predict(built.folder, given)
    assert [(label, np.float32(p), stage) for label, p, stage, _ in said] == [
        (answer["label"], np.float32(answer["probability"]), "only") for answer in expected
    ]


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (None, 2, "usage: classify"),
        (b"P3\n1 1\n255\n0 0 0\n", 9, "is no binary PPM"),
        (b"P6\n2 2\n255\n\0\0", 9, "is cut short"),
    ],
)
def test_the_program_in_cpp_refuses_in_a_sentence(
    content: bytes | None,
    code: int,
    says: str,
    int8_build: BuildResult,
    compiled: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    arguments = ["--model", str(int8_build.folder)]
    if content is not None:
        (tmp_path / "picture.ppm").write_bytes(content)
        arguments.append(str(tmp_path / "picture.ppm"))
    done = subprocess.run([str(compiled(int8_build.folder)), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert says in done.stderr.splitlines()[-1]


def test_systemd_takes_the_service(int8_build: BuildResult, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    (unit,) = (int8_build.folder / "deploy").glob("*.service")
    # Its program is not here; this one is.
    text = re.sub(r"/opt/[^/]+/venv/bin/python", sys.executable, unit.read_text())
    service = tmp_path / unit.name
    service.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(service)], capture_output=True, text=True, check=False)
    assert unit.name not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    exposure = ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(service)]
    done = subprocess.run(exposure, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
