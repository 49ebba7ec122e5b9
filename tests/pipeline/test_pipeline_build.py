"""From a task and a budget to a folder that says what it holds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.assembler.assembler import Assembler
from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError, ExitCode, InfeasibleError, UsageError
from edgekit.core.quantity import Evidence
from edgekit.core.records import sha256_of
from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.target import parse_target
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.figures import price
from edgekit.pipeline.predict import predict
from edgekit.pipeline.result import BuildResult
from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import CALIBRATION, VOCABULARY, WEIGHTS, open_supernet
from edgekit.tasks.grammar import parse_task

TASK = "red rows, blue columns, green rows"
OUTPUTS = ["red rows", "green rows", "blue columns"]  # in the order of the vocabulary
FILES = {
    "card.md",
    "deploy/Classifier.kt",
    "deploy/README.md",
    "deploy/classify.cpp",
    "deploy/edgekit-red-rows-green-rows-blue-columns.service",
    "env.json",
    "labels.txt",
    "log.txt",
    "model.tflite",
    "outputs.safetensors",
    "plan.json",
    "recipe.json",
    "report.html",
    "report.json",
    "run.py",
}
STAGES = ["plan", "load", "assemble", "slice", "export", "verify", "profile", "report"]


def record(result: BuildResult, name: str = "report.json") -> dict[str, Any]:
    return dict(json.loads((result.folder / name).read_text()))


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def content_of(folder: Path) -> dict[str, str]:
    return {path: sha256_of(folder / path) for path in files_in(folder)}


def stopping_at(stage: str, failure: BaseException) -> Callable[[str], None]:
    def progress(started: str) -> None:
        if started == stage:
            raise failure

    return progress


def test_the_folder_holds_all_that_judges_the_model(built: BuildResult) -> None:
    assert files_in(built.folder) == FILES
    assert (built.folder / "labels.txt").read_text().splitlines() == OUTPUTS
    assert built.labels == tuple(OUTPUTS)
    report = record(built)
    assert report["sha256"] == {path: sha256_of(built.folder / path) for path in FILES - {"report.json"}}
    assert report["genotype"] == built.genotype
    assert list(report["stages_s"]) == STAGES[:-1], "the report is written before it is finished"
    log = (built.folder / "log.txt").read_text()
    assert built.genotype in log
    assert all(f"{stage}: " in log for stage in STAGES[:-1])


def test_every_figure_names_its_evidence_and_source(built: BuildResult) -> None:
    figures = {figure["name"]: figure for figure in record(built)["figures"]}
    assert set(figures) == {
        "accuracy",
        "latency",
        "size",
        "size predicted",
        "peak RAM",
        "peak RAM predicted",
        "MACs",
        "parameters",
    }
    for name, figure in figures.items():
        assert figure["source"], name
        assert figure["value"] > 0, name
        assert Evidence(figure["evidence"])
    latency = built.figure("latency")
    assert latency.evidence is Evidence.PREDICTED
    assert latency.interval is not None
    assert "rpi4" in latency.source
    assert built.figure("size").evidence is Evidence.MEASURED
    assert built.figure("accuracy").evidence is Evidence.PREDICTED


def test_sizes_and_macs_are_those_of_the_file(built: BuildResult, tiny_supernet: Path) -> None:
    size_bytes = (built.folder / "model.tflite").stat().st_size
    assert built.figure("size").value == size_bytes
    assert built.figure("size predicted").value == pytest.approx(size_bytes, rel=0.1)
    spec = open_supernet(tiny_supernet).spec
    operators = describe(spec, Genotype.parse(built.genotype), rows=3, sums=None)
    assert built.figure("MACs").value == sum(operator.macs for operator in operators)
    assert built.figure("parameters").value == sum(operator.weights + operator.biases for operator in operators)
    assert built.figure("peak RAM predicted").value == pytest.approx(built.figure("peak RAM").value, rel=0.1)


def test_int8_is_smaller_and_faster_than_fp32(int8_build: BuildResult, fp32_build: BuildResult) -> None:
    assert int8_build.genotype == fp32_build.genotype
    for name in ("size", "latency", "peak RAM"):
        assert int8_build.figure(name).value < fp32_build.figure(name).value, name
    for name in ("MACs", "parameters"):
        assert int8_build.figure(name).value == fp32_build.figure(name).value, name


def test_the_plan_repeats_the_question(int8_build: BuildResult, fp32_build: BuildResult, tiny_supernet: Path) -> None:
    plan = record(int8_build, "plan.json")
    assert plan == record(int8_build)["plan"]
    assert plan["task"] == {"text": TASK, "kind": "classify", "labels": ", ".join(OUTPUTS), "outputs": OUTPUTS}
    assert plan["budget"] == {"macs": "50%"}
    assert (plan["model"], plan["target"], plan["threads"]) == ("stripes", "rpi4:tflite-int8", 4)
    assert plan["model_card_sha256"] == sha256_of(tiny_supernet / "card.json")
    passes = [[step["id"] for step in record(result, "recipe.json")["passes"]] for result in (int8_build, fp32_build)]
    assert passes == [["fold::batch_norm", "quant::int8"], ["fold::batch_norm"]]
    assert record(int8_build, "env.json")["libraries"]["torch"]


def test_the_card_is_for_people(int8_build: BuildResult) -> None:
    card = (int8_build.folder / "card.md").read_text()
    assert card.startswith(f"# {TASK}\n")
    for figure in record(int8_build)["figures"]:
        assert f"| {figure['name']} | " in card
        assert f" | {figure['evidence']} | {figure['source']} |" in card
    assert "Stripes, drawn by the tests" in card
    assert "int8 top-1 agreement" in card


def test_the_checks_that_passed_are_reported(built: BuildResult) -> None:
    verification = record(built)["verification"]
    assert verification["slice_difference"] <= 1e-5
    names = {check["name"] for check in verification["checks"]}
    assert {"MACs", "fp32 cosine", "conv operators"} < names
    assert ("int8 top-1 agreement" in names) == (verification["precision"] == "int8")


def test_presence_is_a_yes_or_a_no(presence_build: BuildResult, stripes: dict[str, Path]) -> None:
    assert presence_build.labels == ("present", "absent")
    assert record(presence_build)["plan"]["task"]["kind"] == "presence"
    answers = {found.file: found.label for found in predict(presence_build.folder, list(stripes.values()))}
    expected = {str(path): "present" if name.startswith("red") else "absent" for name, path in stripes.items()}
    assert answers == expected


def test_a_term_is_one_output(tiny_supernet: Path, stripes: dict[str, Path], tmp_path: Path) -> None:
    """Labels that the task leaves out have no row: it answers one of its two colours whatever it sees."""
    red_or_blue = build(task="colour=red, colour=blue", grouped=True, model=tiny_supernet, output=tmp_path / "out")
    assert set(red_or_blue.labels) == {"colour=red", "colour=blue"}
    shown = {str(path): name.split()[0] for name, path in stripes.items() if name.split()[0] in ("red", "blue")}
    answers = {found.file: found.label for found in predict(red_or_blue.folder, list(map(Path, shown)))}
    assert answers == {file: f"colour={colour}" for file, colour in shown.items()}


def test_all_limits_are_kept_by_the_real_file(tiny_supernet: Path, tmp_path: Path) -> None:
    """With a class for all other labels; limits half way between the smallest and the full network."""
    folder = open_supernet(tiny_supernet)
    target = parse_target("rpi4")
    task = parse_task("blue rows", folder.vocabulary)
    tables = Assembler.load(folder).tables(task, partial(price, load_cost_model(target), target.precision))
    smallest, full = tables.cost(folder.spec.smallest.counts), tables.full
    limits = {
        name: (getattr(smallest, name) + getattr(full, name)) / 2
        for name in ("latency_ms", "size_bytes", "peak_ram_bytes", "macs")
    }
    result = build(task="blue rows", model=tiny_supernet, budget=Budget(**limits), output=tmp_path / "out")
    assert result.labels == ("blue rows", "other")
    assert (tmp_path / "out" / "model.tflite").stat().st_size <= limits["size_bytes"]
    assert result.figure("MACs").value <= limits["macs"]
    assert result.figure("latency").value <= limits["latency_ms"]
    assert result.figure("peak RAM").value <= limits["peak_ram_bytes"]


def test_a_file_larger_than_predicted_is_made_anew_smaller(tiny_supernet: Path, tmp_path: Path) -> None:
    """Labels of two thousand letters make the file larger than its operators let expect."""
    supernet = Path(shutil.copytree(tiny_supernet, tmp_path / "stripes"))
    vocabulary = json.loads((supernet / VOCABULARY).read_text())
    for label in vocabulary["labels"]:
        label["name"] += " " + "x" * 2000
    (supernet / VOCABULARY).write_text(json.dumps(vocabulary))
    free = build(task="colour=red", model=supernet, output=tmp_path / "free")
    size_bytes = free.figure("size").value
    limit = size_bytes - 200
    assert free.figure("size predicted").value < limit, "the prediction alone would keep the limit"
    result = build(task="colour=red", model=supernet, output=tmp_path / "out", budget=Budget(size_bytes=limit))
    assert (tmp_path / "out" / "model.tflite").stat().st_size <= limit
    assert "above the limit" in (tmp_path / "out" / "log.txt").read_text()
    assert verify(result.folder).checks


def test_the_users_pictures_calibrate(
    int8_build: BuildResult, tiny_supernet: Path, stripes: dict[str, Path], tmp_path: Path
) -> None:
    pictures = next(iter(stripes.values())).parent
    result = build(
        task=TASK,
        model=tiny_supernet,
        budget=Budget(macs=Share(fraction=0.5)),
        output=tmp_path / "out",
        data=pictures,
    )
    assert record(result, "plan.json")["calibration"] == str(pictures)
    assert result.genotype == int8_build.genotype
    assert sha256_of(tmp_path / "out" / "model.tflite") != sha256_of(int8_build.folder / "model.tflite")
    assert verify(tmp_path / "out").checks
    answers = [found.label for found in predict(tmp_path / "out", [stripes[name] for name in result.labels])]
    assert answers == list(result.labels)


def test_the_same_question_gets_the_same_file(
    int8_build: BuildResult, fp32_build: BuildResult, tiny_supernet: Path, tmp_path: Path
) -> None:
    """Built over an older folder, of which nothing stays."""
    older = Path(shutil.copytree(fp32_build.folder, tmp_path / "out"))
    (older / "notes.txt").write_text("of the older build")
    seen: list[str] = []
    result = build(
        task=TASK,
        model=tiny_supernet,
        budget=Budget(macs=Share(fraction=0.5)),
        output=older,
        overwrite=True,
        progress=seen.append,
    )
    assert files_in(older) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sha256_of(older / "model.tflite") == sha256_of(int8_build.folder / "model.tflite")
    assert result.genotype == int8_build.genotype
    assert seen == STAGES
    assert list(result.stages_s) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_leaves_the_older_build(
    stage: str, fp32_build: BuildResult, tiny_supernet: Path, tmp_path: Path
) -> None:
    older = Path(shutil.copytree(fp32_build.folder, tmp_path / "out"))
    before = content_of(older)
    with pytest.raises(KeyboardInterrupt):
        build(
            task="red rows, green columns",
            target="rpi4:tflite-fp32",
            model=tiny_supernet,
            output=older,
            overwrite=True,
            progress=stopping_at(stage, KeyboardInterrupt()),
        )
    assert content_of(older) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("file", [WEIGHTS, CALIBRATION])
def test_a_damaged_supernet_leaves_the_older_build(
    file: str, fp32_build: BuildResult, tiny_supernet: Path, tmp_path: Path
) -> None:
    supernet = Path(shutil.copytree(tiny_supernet, tmp_path / "stripes"))
    content = bytearray((supernet / file).read_bytes())
    content[len(content) // 2] ^= 1
    (supernet / file).write_bytes(content)
    older = Path(shutil.copytree(fp32_build.folder, tmp_path / "builds" / "out"))
    before = content_of(older)
    with pytest.raises(BadInputError, match="SHA-256 differs"):
        build(task=TASK, model=supernet, output=older, overwrite=True)
    assert content_of(older) == before
    assert [path.name for path in older.parent.iterdir()] == ["out"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from edgekit.core.errors import BadInputError
from edgekit.pipeline.build import build

def progress(stage):
    if stage == "export":
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

supernet, output = map(Path, sys.argv[1:])
try:
    build(task="red rows, green columns", model=supernet, output=output, overwrite=True, progress=progress)
except BadInputError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_older_build(fp32_build: BuildResult, tiny_supernet: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: both refuse a write in the middle."""
    older = Path(shutil.copytree(fp32_build.folder, tmp_path / "out"))
    before = content_of(older)
    command = [sys.executable, "-c", FULL_DISK, str(tiny_supernet), str(older)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot write "), done.stdout
    assert content_of(older) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_impossible_budget_leaves_nothing(tiny_supernet: Path, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="the smallest network needs") as caught:
        build(task=TASK, model=tiny_supernet, budget=Budget(latency_ms=0.0001), output=tmp_path / "out")
    assert caught.value.code is ExitCode.INFEASIBLE
    assert not list(tmp_path.iterdir())


def test_an_unknown_label_leaves_nothing(tiny_supernet: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='unknown label "red row"') as caught:
        build(task="red row", model=tiny_supernet, output=tmp_path / "out")
    assert '"red rows"' in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_kept(int8_build: BuildResult, tiny_supernet: Path) -> None:
    before = content_of(int8_build.folder)
    with pytest.raises(UsageError, match="exists"):
        build(task=TASK, model=tiny_supernet, output=int8_build.folder)
    assert content_of(int8_build.folder) == before


def test_pictures_that_cannot_calibrate_leave_nothing(tiny_supernet: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(BadInputError, match="holds no picture"):
        build(task=TASK, model=tiny_supernet, output=tmp_path / "out", data=tmp_path / "pictures")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadInputError, match=r"broken\.png"):
        build(task=TASK, model=tiny_supernet, output=tmp_path / "out", data=tmp_path / "pictures")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_kept_outputs_are_those_of_the_model(int8_build: BuildResult) -> None:
    from safetensors.numpy import load_file

    from edgekit.exporters.runner import run_in_subprocess

    kept = load_file(int8_build.folder / "outputs.safetensors")
    again = run_in_subprocess(int8_build.folder / "model.tflite", kept["x_NHWC"]).outputs
    np.testing.assert_allclose(again, kept["p_NK"], atol=2 / 256)


def test_a_file_smaller_than_any_slice_is_pruned_out_of_one(tmp_path: Path) -> None:
    spec = open_supernet("signs43").spec
    least = build(task="stop, yield", output=tmp_path / "slice", genotype=str(spec.genotype(spec.least_genes)))
    limit = 0.9 * least.figure("size").value
    result = build(task="stop, yield", output=tmp_path / "out", budget=Budget(size_bytes=limit))
    assert result.figure("size").value <= limit
    accuracy = result.figure("accuracy")
    assert "of whose answers the pruned one gives" in accuracy.source
    assert accuracy.interval is not None
    assert accuracy.value > 0.7
    steps = [step["id"] for step in record(result, "recipe.json")["passes"]]
    assert steps == ["fold::batch_norm", "prune::channels", "train::distil", "quant::int8"]
    waterfall = record(result)["waterfall"]
    assert [step["name"] for step in waterfall] == ["full supernet", "slice", "prune", "int8"]
    sizes = [{one["name"]: one["value"] for one in step["figures"]}["size"] for step in waterfall]
    assert sizes == sorted(sizes, reverse=True)
    assert any(check.name == "outputs" for check in verify(result.folder).checks)
