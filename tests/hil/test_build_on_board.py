"""A build that is run on an emulated board before it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.core.quantity import Evidence
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.plan import plan

pytestmark = pytest.mark.hil
TASK = "red rows, blue columns, green rows"


@pytest.fixture(autouse=True)
def lab(lab_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, lab_environment[name])


@pytest.mark.parametrize("target", ["rpi4:tvm-fp32", "rpi4:tflite-int8"])
def test_outputs_are_compared_and_instructions_counted(target: str, tiny_supernet: Path, tmp_path: Path) -> None:
    if "tvm" in target:
        pytest.importorskip("tvm", reason="TVM is an extra")
    result = build(task=TASK, model=tiny_supernet, target=target, board="lab", output=tmp_path / "out")
    report = json.loads((result.folder / "report.json").read_text())
    (check,) = (one for one in report["verification"]["checks"] if "outputs on lab" in one["name"])
    assert check["limit"] == (1e-5 if "fp32" in target else 1)
    assert check["value"] <= check["limit"]
    counted = result.figure("instructions, total")
    assert counted.evidence is Evidence.EMULATED
    assert counted.value > result.figure("MACs").value / 16
    assert result.figure("latency").evidence is Evidence.PREDICTED
    assert not [one for one in result.figures if one.quantity.unit == "ms" and one.name != "latency"]
    assert verify(result.folder).checks


def test_its_plan_names_the_board(tiny_supernet: Path) -> None:
    assert plan(task=TASK, model=tiny_supernet, board="lab-qemu").to_json()["board"] == "lab-qemu"
