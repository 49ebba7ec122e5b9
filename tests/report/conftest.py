"""Records of every kind of folder that has a page: a build as it is written, and the others in its likeness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from course_records import course_record, round_
from PIL import Image
from tiny_supernet import LABELS, draw

from edgekit.core.budget import Budget, Share
from edgekit.pipeline.build import build

TASK = "red rows, blue columns, green rows"


@pytest.fixture(scope="session")
def labelled_stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of each output of the task."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(11)
    for name in TASK.split(", "):
        (folder / name).mkdir()
        for number in range(8):
            Image.fromarray(draw(LABELS.index(name), rng)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def judged_build(tiny_supernet: Path, labelled_stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a build whose file was judged on labelled pictures; read it, do not change it."""
    out = tmp_path_factory.mktemp("judged") / "out"
    half = Budget(macs=Share(fraction=0.5))
    build(task=TASK, model=tiny_supernet, budget=half, evaluation=labelled_stripes, output=out)
    return out


@pytest.fixture(scope="session")
def records(judged_build: Path) -> Mapping[str, Mapping[str, Any]]:
    """By the kind of page."""
    built = json.loads((judged_build / "report.json").read_text())
    return {
        "build": built,
        "own classes": _of_runtimes(_of_own_classes(built)),
        "variants": _of_several(built),
        "early exit": _of_several(built)
        | {"early_exit": {"threshold": 0.9, "checks": built["verification"]["checks"]}},
        "compression": _of_compression(built),
        "federated": _of_course(),
    }


def _of_own_classes(built: dict[str, Any]) -> dict[str, Any]:
    confusion = built["confusion"]
    learnt = {
        "kind": "regularised linear discriminant, closed form",
        "ridge": 1.0,
        "bricks_chosen_for": TASK,
        "pictures": dict.fromkeys(confusion["labels"], 8),
        "leave_one_out_recalls": dict.fromkeys(confusion["labels"], 1.0),
        "leave_one_out_confusion": confusion,
    }
    return {name: value for name, value in built.items() if name != "confusion"} | {"own_classes": learnt}


def _of_runtimes(built: dict[str, Any]) -> dict[str, Any]:
    latency = next(one for one in built["figures"] if one["name"] == "latency")
    chosen = {
        "runtime": "tflite",
        "precision": "int8",
        "verified": True,
        "obstacle": "",
        "size_bytes": 4000,
        "latency": latency,
        "instructions": None,
        "chosen": True,
    }
    other = chosen | {
        "runtime": "tvm",
        "verified": False,
        "obstacle": "no linker",
        "size_bytes": None,
        "latency": None,
        "chosen": False,
    }
    executed = {
        "name": "instructions, total",
        "value": 2.5e6,
        "unit": "instructions",
        "evidence": "emulated",
        "source": "lab",
        "interval": None,
    }
    return built | {
        "candidates": [chosen, other],
        "reason": "It has the least latency.",
        "notes": ["int8 is slower than fp32."],
        "figures": [*built["figures"], executed],
    }


def _of_several(built: dict[str, Any]) -> dict[str, Any]:
    own = ("genotype", "figures", "confusion", "waterfall", "kinds", "operators", "verification")
    alone = {
        "name": "size alone",
        "value": 4000,
        "unit": "bytes",
        "evidence": "measured",
        "source": "",
        "interval": None,
    }
    one = {name: built[name] for name in own} | {"image_size": 16, "figures": [*built["figures"], alone]}
    return {name: value for name, value in built.items() if name not in own or name == "figures"} | {
        "variants": [one | {"name": "0.25ms"}, one | {"name": "0.32ms"}]
    }


def _of_compression(built: dict[str, Any]) -> dict[str, Any]:
    latency = next(one for one in built["figures"] if one["name"] == "latency")
    judged = {"measure": "accuracy", "value": 0.97, "interval": [0.95, 0.99], "samples": 450}
    row = {
        "step": "original",
        "parameters": 20000,
        "nonzeros": 20000,
        "macs": 500000,
        "size_bytes": 80000.0,
        "latency": latency,
        "judgement": judged,
        "seconds": 1.0,
        "notes": [],
        "layers": [],
    }
    cut = row | {
        "step": "prune::channels",
        "macs": 250000,
        "notes": ["cut"],
        "layers": [{"layer": "first", "kept": 12}],
    }
    trial = {
        "start": 0,
        "added": "prune::channels,macs_share=0.6",
        "recipe": "prune::channels,macs_share=0.6, train::distil",
        "judgement": judged,
        "drop_points": 0.4,
        "latency_ms": 0.05,
        "macs": 300000,
        "kept": True,
        "seconds": 2.0,
    }
    lost = trial | {"recipe": "prune::channels,macs_share=0.3", "drop_points": 4.0, "latency_ms": 0.03, "kept": False}
    plan = {
        "source": "nets:digits",
        "weights": "w.safetensors",
        "input_shape": [3, 8, 8],
        "data": "digits.npz",
        "evaluation": None,
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "mirror": False,
        "target": "rpi4:tflite-int8",
        "threads": 4,
        "recipe": None,
        "max_accuracy_drop": 1.0,
        "budget": {"latency_ms": 0.05},
        "minutes": 1.0,
        "seed": 0,
    }
    return {
        "folder": "out",
        "plan": plan,
        "labels": ["0", "1"],
        "recipe": [{"id": "prune::channels"}, {"id": "train::distil"}, {"id": "quant::int8"}],
        "rows": [row, cut],
        "trials": [trial, lost],
        "refusals": {"swap::ghost": "no place for it"},
        "judgement": judged,
        "drop_points": 0.4,
        "figures": built["figures"],
        "notes": ["The data has copies."],
        "verification": built["verification"],
        "stages_s": {"plan": 0.1},
    }


def _of_course() -> dict[str, Any]:
    """Long enough, and of layers enough, for every colour and dash of the plots."""
    rounds = [
        round_(
            number,
            left_out={"b": "does not answer"} if number == 1 else {},
            densities={f"layer {layer}": 0.1 + number * layer / 1000 for layer in range(8)},
        )
        for number in range(12)
    ]
    return course_record(rounds=rounds)
