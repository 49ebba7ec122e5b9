"""A build with an early exit: its two networks are those of the report, and its program goes the way of eager torch."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from board_program import answers_of_predict, answers_of_run, run_program
from numpy.typing import NDArray
from PIL import Image
from tiny_supernet import SIZE, draw_all

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError, MissingExtraError, UsageError, VerificationError
from edgekit.core.quantity import Evidence
from edgekit.exporters.early_exit import EarlyExitProgram, answer
from edgekit.exporters.tvm_exporter import twin_of
from edgekit.pipeline.check import verify
from edgekit.pipeline.early_exit import EarlyExitResult, build_early_exit, plan_early_exit
from edgekit.pipeline.on_board import holds_variants
from edgekit.pipeline.predict import predict
from edgekit.pipeline.profile import profile
from edgekit.supernet.early_exit import EarlyExitNetwork, sharpened
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import CARD, WEIGHTS, open_supernet
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.grammar import parse_task

TASK = "red rows, blue columns, green rows, red columns"
SHARPNESS, THRESHOLD = 0.7, 0.9

FILES = {"tflite": ("model.tflite",), "onnx": ("first.onnx", "last.onnx"), "tvm": ("first.so", "last.so")}
RECORDS = {"card.md", "early_exit.json", "env.json", "labels.txt", "log.txt", "outputs.safetensors"}
RECORDS |= {"deploy", "plan.json", "recipe.json", "report.html", "report.json", "run.py"}


@pytest.fixture(scope="session")
def unsure_supernet(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its card knows that its networks claim too much."""
    folder = Path(shutil.copytree(tiny_supernet, tmp_path_factory.mktemp("models") / "unsure"))
    card = json.loads((folder / CARD).read_text())
    confidence = {"sharpness": SHARPNESS, "haze": 0.1, "images": 48}
    (folder / CARD).write_text(json.dumps({**card, "confidence": confidence}))
    return folder


@pytest.fixture(scope="session")
def faded() -> NDArray[np.uint8]:
    """`x_NHWC`: stripes from plain to hardly visible."""
    rng = np.random.default_rng(3)
    x_NHWC, _ = draw_all(24, rng)
    strength_N111 = np.linspace(0.1, 1, len(x_NHWC))[:, None, None, None]
    return (x_NHWC * strength_N111 + rng.integers(0, 256, x_NHWC.shape) * (1 - strength_N111)).astype(np.uint8)


@pytest.fixture(scope="session")
def own_pictures(faded: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for number, x_HWC in enumerate(faded):
        Image.fromarray(x_HWC).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session", params=FILES)
def exits(
    request: pytest.FixtureRequest,
    unsure_supernet: Path,
    own_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> EarlyExitResult:
    """For a Raspberry Pi 4 in fp32, for each runtime whose libraries are installed."""
    try:
        return build_early_exit(
            early_exit=THRESHOLD,
            task=TASK,
            model=unsure_supernet,
            target=f"rpi4:{request.param}-fp32",
            data=own_pictures,
            output=tmp_path_factory.mktemp(request.param) / "out",
        )
    except MissingExtraError as error:
        pytest.skip(f"{error.message}: {error.hint}")


def in_torch(exits: EarlyExitResult, threshold: float) -> EarlyExitNetwork:
    """From the genotypes of the report and the supernet's weights alone."""
    folder = open_supernet(exits.plan.plan.model.path)
    supernet = folder.load(folder.read_tensors(WEIGHTS))
    task = parse_task(TASK, folder.vocabulary)
    genotypes = [Genotype.parse(variant.genotype) for variant in exits.variants]
    stages = [sharpened(slice_subnet(supernet, genotype, task), SHARPNESS) for genotype in genotypes]
    return EarlyExitNetwork(stages, (SIZE, SIZE), threshold=threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.5, THRESHOLD, 0.97, 1.01])
def test_every_path_equals_eager_torch(exits: EarlyExitResult, faded: NDArray[np.uint8], threshold: float) -> None:
    x_NHWC = faded.astype(np.float32) / 255
    program = EarlyExitProgram.read(exits.folder)
    answers = answer(program.load(exits.folder), [x_NHWC, x_NHWC], threshold=threshold)
    with torch.inference_mode():
        p_NK, stage_N = in_torch(exits, threshold)(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2))
    assert np.array_equal(answers.stage_N, stage_N.numpy())
    assert np.allclose(answers.p_NK, p_NK.numpy(), atol=1e-5)
    if threshold == THRESHOLD:
        assert {0, 1} == set(answers.stage_N.tolist())


def test_the_folder_holds_both_networks_and_nothing_that_they_were_made_from(exits: EarlyExitResult) -> None:
    files = FILES[exits.plan.plan.target.runtime]
    twins = {twin_of(Path(file)).name for file in files if file.endswith(".so") and platform.machine() != "aarch64"}
    assert {path.name for path in exits.folder.iterdir()} == {*RECORDS, *files, *twins}
    sizes = [(exits.folder / file).stat().st_size for file in files]
    assert exits.figure("size").value == sum(sizes)
    assert ("size saved" in {figure.name for figure in exits.figures}) == (len(files) == 1)


def test_run_py_goes_the_same_way_without_edgekit(exits: EarlyExitResult, own_pictures: Path) -> None:
    pictures = sorted(own_pictures.iterdir())
    answers = answers_of_run(exits.folder, *pictures)
    assert {answer["answered_by"] for answer in answers} == {"first", "last"}
    assert answers == answers_of_predict(exits.folder, pictures)
    alone = answers_of_run(exits.folder, "--variant", "first", *pictures)
    assert alone == answers_of_predict(exits.folder, pictures, variant="first")
    strange = run_program(exits.folder, "--variant", "8ms", pictures[0])
    assert (strange.returncode, strange.stderr) == (2, 'run.py: there is no network "8ms", but first, last\n')


def test_predict_says_which_network_answered(
    exits: EarlyExitResult, faded: NDArray[np.uint8], own_pictures: Path
) -> None:
    with torch.inference_mode():
        p_NK, stage_N = in_torch(exits, THRESHOLD)(torch.from_numpy(faded).permute(0, 3, 1, 2).float() / 255)
    given = predict(exits.folder, sorted(own_pictures.iterdir()))
    assert [one.answered_by for one in given] == [("first", "last")[stage] for stage in stage_N.tolist()]
    assert [one.label for one in given] == [exits.labels[k] for k in p_NK.argmax(1).tolist()]
    assert [one.probability for one in given] == pytest.approx(p_NK.amax(1).tolist(), abs=1e-5)
    alone = predict(exits.folder, sorted(own_pictures.iterdir()), variant="first")
    assert [one.answered_by for one in alone] == [None] * len(alone)
    assert [one.probability for one, stage in zip(alone, stage_N, strict=True) if stage == 0] == pytest.approx(
        [one.probability for one in given if one.answered_by == "first"]
    )
    with pytest.raises(UsageError, match="8ms"):
        predict(exits.folder, sorted(own_pictures.iterdir()), variant="8ms")


def test_the_share_is_that_of_the_users_pictures(exits: EarlyExitResult, faded: NDArray[np.uint8]) -> None:
    with torch.inference_mode():
        _, stage_N = in_torch(exits, THRESHOLD)(torch.from_numpy(faded).permute(0, 3, 1, 2).float() / 255)
    share = exits.figure("share that leaves early")
    assert share.value == pytest.approx(float((stage_N == 0).float().mean()))
    assert share.evidence is Evidence.MEASURED


def test_means_lie_between_the_first_network_and_both(exits: EarlyExitResult) -> None:
    share = exits.figure("share that leaves early").value
    first, last = exits.variants
    for mean, name in (("mean latency", "latency"), ("mean MACs", "MACs")):
        one, other = (variant.figure(name).value for variant in (first, last))
        assert exits.figure(name).value == pytest.approx(one + other)
        assert exits.figure(mean).value == pytest.approx(one + (1 - share) * other)
    assert exits.figure("peak RAM").value == first.figure("peak RAM").value + last.figure("peak RAM").value


def test_a_finished_build_is_verified_in_both_networks(exits: EarlyExitResult) -> None:
    names = [check.name for check in verify(exits.folder).checks]
    assert names == ["files", "labels, first", "outputs, first", "labels, last", "outputs, last"]


def test_the_card_tells_what_a_program_needs(exits: EarlyExitResult) -> None:
    card = (exits.folder / "card.md").read_text()
    assert f"probabilities.max() >= {THRESHOLD:g}" in card
    assert "calibrated on 48 images" in card
    for variant in exits.variants:
        assert variant.genotype in card


def test_the_program_of_the_card_answers_as_predict_does(exits: EarlyExitResult, own_pictures: Path) -> None:
    """In a process of its own, which knows nothing of edgekit; of the board's libraries their twins for this machine run."""
    runtime, paths = exits.plan.plan.target.runtime, sorted(own_pictures.iterdir())
    (program,) = re.findall(r"```python\n(.*?)```", (exits.folder / "card.md").read_text(), re.DOTALL)
    if platform.machine() != "aarch64":
        program = program.replace(".so", f".{platform.machine()}.so")
    layout = ".transpose(0, 3, 1, 2).copy()" if runtime == "onnx" else ""
    lines = [
        "import sys, numpy as np",
        "from PIL import Image",
        f"labels = {exits.labels!r}",
        "for path in sys.argv[1:]:",
        "    image = np.asarray(Image.open(path), np.float32)[None] / np.float32(255)",
        f"    images = [image{layout}] * 2",
        *(f"    {line}" for line in program.splitlines()),
        "    print(label)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), *map(str, paths)],
        cwd=exits.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [one.label for one in predict(exits.folder, paths)]


def test_each_network_is_profiled_by_its_name_and_the_last_without(exits: EarlyExitResult) -> None:
    first, last = (variant.figure("MACs").value for variant in exits.variants)
    for variant, macs in (("first", first), ("last", last), (None, last)):
        figures = {figure.name: figure.quantity for figure in profile(exits.folder, "rpi4", variant=variant).figures}
        assert figures["MACs"].value == macs
    with pytest.raises(UsageError, match="8ms"):
        profile(exits.folder, "rpi4", variant="8ms")


def test_boards_are_given_files_of_one_network_only(exits: EarlyExitResult) -> None:
    files = FILES[exits.plan.plan.target.runtime]
    assert [holds_variants(exits.folder / file) for file in files] == [len(files) == 1] * len(files)
    if len(files) == 1:
        for variant in ("first", None):
            with pytest.raises(UsageError, match="a single network"):
                profile(exits.folder, board="local", variant=variant)


def test_a_missing_file_of_the_program_is_named(exits: EarlyExitResult, own_pictures: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exits.folder, tmp_path / "out"))
    file = FILES[exits.plan.plan.target.runtime][-1]
    (folder / file).unlink()
    with pytest.raises(BadInputError, match=re.escape(file)):
        predict(folder, sorted(own_pictures.iterdir())[:1])
    with pytest.raises(VerificationError, match=re.escape(file)):
        verify(folder)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"early_exit": 0.0}, "not a probability"),
        ({"early_exit": 1.0}, "not a probability"),
        ({"early_exit": float("nan")}, "not a probability"),
        ({"early_exit": 0.999}, "int8"),
        ({"genotype": "0f.0f.0f"}, "--genotype is one"),
        ({"examples": "somewhere"}, "own classes"),
        ({"budget": Budget(min_accuracy=Share(fraction=0.9))}, "floor"),
    ],
    ids=str,
)
def test_what_no_early_exit_can_be_made_of_is_a_usage_error(
    tiny_supernet: Path, inputs: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        plan_early_exit(**{"early_exit": 0.9, "task": TASK, "model": tiny_supernet, **inputs})
    assert caught.value.hint


@pytest.mark.parametrize("target", ["rpi4:tflite-fp32", "rpi4:onnx-int8", "rpi4:tvm-int8"])
def test_a_file_that_gives_floats_knows_probabilities_near_one(tiny_supernet: Path, target: str) -> None:
    planned = plan_early_exit(early_exit=0.999, task=TASK, model=tiny_supernet, target=target)
    assert planned.to_json()["early_exit"] == 0.999
