"""Several networks of one supernet in one build: the same networks as built one by one, in fewer bytes."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_program import answers_of_predict, answers_of_run, run_program
from safetensors.numpy import load_file, save_file

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import ExitCode, InfeasibleError, UsageError, VerificationError
from edgekit.core.records import sha256_of
from edgekit.exporters.runner import run_in_subprocess
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.predict import predict
from edgekit.pipeline.profile import profile
from edgekit.pipeline.variants import VariantsResult, build_variants, parse_variants, plan_variants

TASK = "red rows, blue columns, green rows"
FAST, SLOW = "0.25ms", "0.32ms"


@pytest.fixture(scope="session")
def both(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> VariantsResult:
    """Two limits between which the small supernet has something to choose."""
    output = tmp_path_factory.mktemp("variants") / "out"
    return build_variants(task=TASK, model=tiny_supernet, variants="0.32,0.25ms", output=output)


def record(result: VariantsResult, name: str = "report.json") -> dict[str, Any]:
    return dict(json.loads((result.folder / name).read_text()))


def test_the_folder_holds_one_model_and_all_that_judges_it(both: VariantsResult) -> None:
    report = record(both)
    files = {"card.md", "env.json", "labels.txt", "log.txt", "model.tflite", "outputs.safetensors", "plan.json"}
    files |= {"deploy", "recipe.json", "report.html", "report.json", "run.py"}
    assert {path.name for path in both.folder.iterdir()} == files
    assert report["sha256"] == {
        str(path.relative_to(both.folder)): sha256_of(path)
        for path in both.folder.rglob("*")
        if path.is_file() and path.name != "report.json"
    }
    assert record(both, "plan.json") == report["plan"]
    assert all(variant["waterfall"] and variant["operators"] for variant in report["variants"])
    assert {variant["genotype"] for variant in report["variants"]} <= {point["genotype"] for point in report["front"]}
    assert report["plan"]["variants"] == {FAST: 0.25, SLOW: 0.32}
    assert (both.folder / "labels.txt").read_text().splitlines() == list(both.labels)
    with zipfile.ZipFile(both.folder / "model.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(both.labels)


def test_run_py_runs_each_without_edgekit(both: VariantsResult, stripes: dict[str, Path]) -> None:
    pictures = list(stripes.values())
    fast = answers_of_run(both.folder, "--variant", FAST, *pictures)
    slow = answers_of_run(both.folder, *pictures)
    assert fast == answers_of_predict(both.folder, pictures, variant=FAST)
    assert slow == answers_of_predict(both.folder, pictures)
    assert fast != slow
    strange = run_program(both.folder, "--variant", "8ms", pictures[0])
    assert strange.returncode == 2
    assert strange.stderr.endswith(f'model.tflite has no network "8ms", it has {SLOW}, {FAST}\n')


def test_each_variant_keeps_its_limit_and_says_what_it_is(both: VariantsResult) -> None:
    fast, slow = both.variants
    assert (fast.name, slow.name) == (FAST, SLOW)
    for variant, limit_ms in ((fast, 0.25), (slow, 0.32)):
        latency = variant.figure("latency")
        assert latency.value <= limit_ms
        assert latency.interval is not None
        assert variant.image_size == 16
    assert fast.figure("MACs").value < slow.figure("MACs").value
    for variant in record(both)["variants"]:
        names = {check["name"] for check in variant["verification"]["checks"]}
        assert {"MACs", "fp32 cosine", "int8 top-1 agreement"} < names


def test_a_variant_is_the_network_of_a_build_with_that_limit(
    both: VariantsResult, tiny_supernet: Path, tmp_path: Path
) -> None:
    limit = Budget(latency_ms=0.32)
    alone = build(task=TASK, model=tiny_supernet, budget=limit, output=tmp_path / "out")
    slow = both.variants[1]
    assert slow.genotype == alone.genotype
    assert slow.figure("size alone").value == alone.figure("size").value
    for name in ("latency", "accuracy", "MACs", "peak RAM"):
        assert slow.figure(name) == alone.figure(name)
    x_NHWC = load_file(alone.folder / "outputs.safetensors")["x_NHWC"]
    expected = run_in_subprocess(alone.folder / "model.tflite", x_NHWC).outputs
    together = both.folder / "model.tflite"
    np.testing.assert_array_equal(run_in_subprocess(together, x_NHWC, signature=SLOW).outputs, expected)
    np.testing.assert_array_equal(run_in_subprocess(together, x_NHWC).outputs, expected)


def test_the_bytes_are_those_of_the_file_and_fewer_than_apart(both: VariantsResult) -> None:
    figures = {figure.name: figure.quantity.value for figure in both.figures}
    assert figures["size"] == (both.folder / "model.tflite").stat().st_size
    assert figures["size apart"] == sum(variant.figure("size alone").value for variant in both.variants)
    assert figures["size saved"] == pytest.approx(1 - figures["size"] / figures["size apart"])
    assert figures["size saved"] > 0.2


def test_the_card_says_how_to_switch(both: VariantsResult) -> None:
    card = (both.folder / "card.md").read_text()
    for variant in both.variants:
        assert f"| {variant.name} | 16 | " in card
        assert f"- {variant.name}, MACs: " in card
        assert f"`{variant.genotype}`" in card
    assert f'get_signature_runner("{FAST}")' in card
    assert f'GetSignatureRunner("{FAST}")' in card
    assert "size saved" in card


def test_any_variant_predicts_and_the_slowest_by_default(both: VariantsResult, stripes: dict[str, Path]) -> None:
    pictures = [stripes[name] for name in both.labels]
    answers = {name: predict(both.folder, pictures, variant=name) for name in (None, FAST, SLOW)}
    assert [answer.probability for answer in answers[None]] == [answer.probability for answer in answers[SLOW]]
    for given in answers.values():
        assert [answer.label for answer in given] == list(both.labels)
    with pytest.raises(UsageError, match='no variant "3ms"') as caught:
        predict(both.folder, pictures, variant="3ms")
    assert FAST in caught.value.hint


def test_a_finished_build_is_verified_in_every_variant(both: VariantsResult) -> None:
    names = [check.name for check in verify(both.folder).checks]
    assert names == ["files", f"labels, {FAST}", f"outputs, {FAST}", f"labels, {SLOW}", f"outputs, {SLOW}"]


def test_one_wrong_variant_fails_verification(both: VariantsResult, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(both.folder, tmp_path / "out"))
    kept = load_file(folder / "outputs.safetensors")
    key = f"{SLOW}.p_NK"
    save_file({**kept, key: np.roll(kept[key], 1, axis=1).copy()}, folder / "outputs.safetensors")
    report = json.loads((folder / "report.json").read_text())
    report["sha256"]["outputs.safetensors"] = sha256_of(folder / "outputs.safetensors")
    (folder / "report.json").write_text(json.dumps(report))
    with pytest.raises(VerificationError, match=rf"{SLOW} computes different outputs"):
        verify(folder)

    report["variants"][0]["name"] = "3ms"
    (folder / "report.json").write_text(json.dumps(report))
    with pytest.raises(VerificationError, match="lacks the network 3ms"):
        verify(folder)


def test_an_infeasible_variant_is_named_and_nothing_is_written(tiny_supernet: Path, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match=r"variant 0\.1ms: .*smallest network") as caught:
        build_variants(task=TASK, model=tiny_supernet, variants="0.32,0.1ms", output=tmp_path / "out")
    assert caught.value.code is ExitCode.INFEASIBLE
    assert list(tmp_path.iterdir()) == []


def test_the_other_limits_hold_for_each_variant(tiny_supernet: Path) -> None:
    budget = Budget(macs=Share(fraction=0.5), min_accuracy=0.9)
    planned = plan_variants(task=TASK, model=tiny_supernet, variants="2,1ms", budget=budget)
    assert list(planned.limits_ms) == ["1ms", "2ms"]
    for name, limit_ms in planned.limits_ms.items():
        assert planned.of(name).budget == Budget(latency_ms=limit_ms, macs=Share(fraction=0.5), min_accuracy=0.9)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("4,8,16ms", ["4ms", "8ms", "16ms"]),
        ("4ms,8ms", ["4ms", "8ms"]),
        ("16 ms, 4 , 8ms", ["4ms", "8ms", "16ms"]),
        ("0.50,1.0ms", ["0.5ms", "1ms"]),
        ("7ms", ["7ms"]),
    ],
)
def test_limits_are_read_with_the_unit_on_the_last_or_on_each(text: str, names: list[str]) -> None:
    limits = parse_variants(text)
    assert list(limits) == names
    assert [f"{limit:g}ms" for limit in limits.values()] == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4,8,16", "unit ms"),
        ("4ms,8", "unit ms"),
        ("4,8s", "unit ms"),
        ("", "unit ms"),
        ("ms", '"ms" is not a number of ms'),
        ("4,,8ms", '"" is not a number of ms'),
        ("4,fast,8ms", '"fast" is not a number of ms'),
        ("25%,8ms", '"25%" is not a number of ms'),
        ("4,4.0ms", "4ms is given twice"),
        ("0,8ms", "latency_ms = 0"),
        ("-1,8ms", "latency_ms = -1"),
        ("nan,8ms", "latency_ms = nan"),
        ("inf,8ms", "latency_ms = inf"),
    ],
)
def test_a_wrong_list_is_a_usage_error(tiny_supernet: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan_variants(task=TASK, model=tiny_supernet, variants=text)


def test_a_latency_limit_beside_the_variants_is_a_usage_error(tiny_supernet: Path) -> None:
    with pytest.raises(UsageError, match="gives the latency limits"):
        plan_variants(task=TASK, model=tiny_supernet, variants="4,8ms", budget=Budget(latency_ms=4))


def test_boards_run_files_of_one_network(both: VariantsResult) -> None:
    with pytest.raises(UsageError, match="files of a single network"):
        profile(both.folder, board="local")
