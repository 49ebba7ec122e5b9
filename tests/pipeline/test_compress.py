"""A network of the user's own goes in, a verified file with an account of every pass comes out."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digit_networks import digit_net
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch.nn import functional as F  # noqa: N812

import edgekit
from edgekit.core.budget import Budget
from edgekit.core.errors import (
    BadInputError,
    ConversionError,
    EdgekitError,
    InfeasibleError,
    MissingExtraError,
    UsageError,
    VerificationError,
)
from edgekit.core.quantity import Evidence
from edgekit.exporters.exporter import exporter_of
from edgekit.exporters.tvm.toolchain import linker_for
from edgekit.passes.judgement import Measure
from edgekit.pipeline.compress import CompressionResult

FACTORY = "digit_networks:digit_net"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 8 x 8 pixels, in three equal channels."""
    images, labels = load_digits(return_X_y=True)
    x_NHW = np.round(images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x=np.repeat(x_NHW[..., None], 3, -1), y=labels, names=np.array([f"digit {n}" for n in range(10)]))
    return path


@pytest.fixture(scope="module")
def weights(digits: Path) -> Path:
    """Of the network, trained for some seconds."""
    with np.load(digits) as file:
        x_NCHW = torch.from_numpy(file["x"].transpose(0, 3, 1, 2).copy()).float() / 255
        y_N = torch.from_numpy(file["y"].astype(np.int64))
    network = digit_net().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(250):
        some = torch.randint(len(y_N), (128,), generator=generator)
        loss = F.cross_entropy(network(x_NCHW[some]), y_N[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path = digits.with_name("digits.safetensors")
    save_file(network.state_dict(), path)
    return path


def compressed(
    digits: Path, weights: Path, out: Path, *, target: str = "rpi4:tflite-fp32", **asked: Any
) -> CompressionResult:
    return edgekit.compress(
        FACTORY, weights=weights, input_shape=(3, 8, 8), data=digits, target=target, output=out, **asked
    )


def test_a_recipe_leaves_a_folder_that_verifies_and_accounts_for_every_pass(
    digits: Path, weights: Path, tmp_path: Path
) -> None:
    result = compressed(
        digits,
        weights,
        tmp_path / "out",
        passes=["prune::channels,macs_share=0.5", "train::distil,epochs=8", "fold::batch_norm"],
    )
    assert [row.step for row in result.rows] == [
        "original",
        "prune::channels,macs_share=0.5",
        "train::distil,epochs=8",
        "fold::batch_norm",
    ]
    original, *_, last = result.rows
    assert last.macs <= 0.5 * original.macs
    assert last.latency.value < original.latency.value
    assert result.drop_points < 5
    assert result.labels[3] == "digit 3"
    measured = result.figures[0].quantity
    assert measured.evidence is Evidence.MEASURED
    assert measured.interval is not None
    checks = edgekit.verify(tmp_path / "out").checks
    assert any("outputs" in check.name for check in checks)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rows"][-1]["macs"] == last.macs
    assert "What each pass bought and cost" in (tmp_path / "out" / "card.md").read_text()


def test_the_recipe_of_a_folder_makes_the_same_network_again(digits: Path, weights: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    compressed(digits, weights, first, passes=["prune::channels,macs_share=0.6"])
    compressed(digits, weights, again, recipe=first / "recipe.json")
    assert (first / "outputs.safetensors").read_bytes() == (again / "outputs.safetensors").read_bytes()


def test_a_search_finds_less_work_within_the_floor(digits: Path, weights: Path, tmp_path: Path) -> None:
    """By a clock that moves on whenever it is looked at, as before each step of a training: the machine's speed has no say."""
    clock = count(0.0, 0.1).__next__
    result = compressed(
        digits, weights, tmp_path / "out", target="rpi4", max_accuracy_drop=3.0, minutes=0.5, clock=clock
    )
    original, *_, last = result.rows
    assert last.macs < 0.8 * original.macs
    assert result.drop_points <= 3.0
    assert result.trials
    assert any(trial.kept for trial in result.trials)
    assert (tmp_path / "out" / "model.tflite").stat().st_size < original.size_bytes / 2


def test_a_recipe_that_breaks_the_floor_leaves_nothing(digits: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="at most 1 were allowed") as caught:
        compressed(digits, weights, tmp_path / "out", passes=["prune::channels,macs_share=0.1"], max_accuracy_drop=1.0)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_labels_that_are_no_outputs_are_named(digits: Path, weights: Path, tmp_path: Path) -> None:
    with np.load(digits) as file:
        np.savez(tmp_path / "other.npz", x=file["x"], y=file["y"] + 5)
    with pytest.raises(BadInputError, match="the network has 10 outputs"):
        compressed(tmp_path / "other.npz", weights, tmp_path / "out", passes=["train::distil"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("budget", [Budget(size_bytes=100), Budget(latency_ms=0.0001)])
def test_what_no_network_keeps_is_answered_before_the_search(
    digits: Path, weights: Path, tmp_path: Path, budget: Budget
) -> None:
    with pytest.raises(InfeasibleError, match="an empty one needs"):
        compressed(digits, weights, tmp_path / "out", target="rpi4", budget=budget, minutes=60)
    assert not (tmp_path / "out").exists()


def test_a_network_that_classifies_nothing_is_judged_by_the_variance_it_reproduces(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", x=x)
    result = edgekit.compress(
        "digit_networks:regressor",
        input_shape=(6,),
        data=tmp_path / "inputs.npz",
        target="rpi4:tflite-fp32",
        passes=["prune::fedtiny,density=0.6"],
        output=tmp_path / "out",
    )
    assert result.judgement.measure is Measure.REPRODUCED
    assert 0.5 < result.judgement.value <= 1
    assert any("no speed-up" in note for row in result.rows for note in row.notes)
    assert not (tmp_path / "out" / "run.py").exists(), "there is nothing to see for it"


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"passes": ["swap::ghost"], "recipe": "r.toml"}, UsageError, "both a recipe"),
        ({"passes": ["swap::gost"]}, UsageError, "is not a pass"),
        ({"max_accuracy_drop": -1.0}, UsageError, "is not a limit"),
        ({"std": (0.0, 1.0, 1.0)}, UsageError, "above 0"),
        ({"minutes": 0.0}, UsageError, "is not a time"),
        ({"target": "rpi4:tflite-int3"}, UsageError, "int3"),
        ({"target": "rpi4:tflite", "passes": ["quant::nncf"]}, UsageError, "quantises for onnx.*not for tflite"),
        ({"target": "rpi4:onnx", "passes": ["quant::int8"]}, UsageError, "quantises for tflite, not for onnx"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_loaded(
    tmp_path: Path, asked: dict[str, object], error: type[EdgekitError], says: str
) -> None:
    with pytest.raises(error, match=says):
        edgekit.compress("nowhere.pt2", data=tmp_path / "absent", output=tmp_path / "out", **asked)


def test_an_error_names_the_pass_and_what_ran_before_it(digits: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises((ConversionError, UsageError), match=r"prune::channels \(after fold::batch_norm\)"):
        compressed(digits, weights, tmp_path / "out", passes=["fold::batch_norm", "prune::channels,macs_share=0.0001"])


def test_nncf_leaves_an_onnx_folder_that_verifies_and_predicts(digits: Path, weights: Path, tmp_path: Path) -> None:
    result = compressed(digits, weights, tmp_path / "out", target="rpi4", passes=["quant::nncf"])
    assert (tmp_path / "out" / "model.onnx").is_file()
    assert result.recipe.passes[-1].id == "quant::nncf"
    assert edgekit.verify(tmp_path / "out").checks
    with np.load(digits) as file:
        Image.fromarray(file["x"][0]).save(tmp_path / "digit.png")
        wanted = f"digit {file['y'][0]}"
    (prediction,) = edgekit.predict(tmp_path / "out", [tmp_path / "digit.png"])
    assert prediction.label == wanted
    assert 0 <= prediction.probability <= 1


def test_a_target_says_the_runtime_and_quantises_for_it(digits: Path, weights: Path, tmp_path: Path) -> None:
    result = compressed(digits, weights, tmp_path / "out", target="rpi4:onnx", passes=["fold::batch_norm"])
    assert [one.id for one in result.recipe.passes] == ["fold::batch_norm", "quant::nncf"]
    assert (tmp_path / "out" / "model.onnx").is_file()
    (latency,) = (figure.quantity for figure in result.figures if figure.name == "latency")
    assert "no figures of onnx" in latency.source
    size_bytes = (tmp_path / "out" / "model.onnx").stat().st_size
    assert abs(result.rows[-1].size_bytes / size_bytes - 1) < 0.05, "predicted"
    assert edgekit.verify(tmp_path / "out").checks


def test_a_network_in_half_precision_loses_nothing_that_is_seen(digits: Path, weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="TVM is an extra")
    try:
        linker_for("aarch64-linux-gnu")
    except MissingExtraError as error:
        pytest.skip(f"{error.message} ({error.hint})")
    result = compressed(digits, weights, tmp_path / "out", target="rpi5:tvm-fp16", passes=["fold::batch_norm"])
    assert [one.id for one in result.recipe.passes] == ["fold::batch_norm"]
    model = tmp_path / "out" / "model.so"
    assert set(exporter_of(model).read_graph(model).dtypes) == {"float16"}
    assert abs(result.drop_points) < 1
    assert abs(result.rows[-1].size_bytes / model.stat().st_size - 1) < 0.3, "predicted"
    assert edgekit.verify(tmp_path / "out").checks
    assert edgekit.profile(tmp_path / "out", "rpi5").target == "rpi5:tvm-fp16"


def test_an_interrupted_training_goes_on(
    digits: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("edgekit.passes.distillation_training.CHECKPOINT_SECONDS", 0.0)
    recipe = ["prune::channels,macs_share=0.5", "train::distil,epochs=4"]

    def interrupted(line: str) -> None:
        told.append(line)
        if len(steps(told)) == 2:
            raise KeyboardInterrupt

    def steps(lines: list[str]) -> list[str]:
        return [line for line in lines if line.startswith("step ")]

    told: list[str] = []

    with pytest.raises(KeyboardInterrupt):
        compressed(digits, weights, tmp_path / "out", passes=recipe, progress=interrupted)
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "cache").rglob("distil-*"))
    again: list[str] = []
    compressed(digits, weights, tmp_path / "out", passes=recipe, progress=again.append)
    assert steps(told)[0] not in again, "it began anew"
    whole: list[str] = []
    compressed(digits, weights, tmp_path / "whole", passes=recipe, progress=whole.append)
    assert steps(told)[0] in whole
    assert (tmp_path / "out" / "outputs.safetensors").read_bytes() == (
        tmp_path / "whole" / "outputs.safetensors"
    ).read_bytes()
    assert not list((tmp_path / "cache").rglob("distil-*"))
