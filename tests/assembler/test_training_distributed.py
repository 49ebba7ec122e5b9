"""Several processes train one supernet, the same as one process alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shapes_training import write_recipe, write_split

from edgekit.assembler.assembler import Assembler
from edgekit.supernet.storage import open_supernet

SCRIPT = Path(__file__).with_name("shapes_training.py")
WARMUP_STEPS, STEPS = 8, 16


def train(folder: Path, data: Path, *, processes: int) -> list[dict[str, float]]:
    """The learning curve, a record a step.

    All blocks are fused: before an inverted block's 1 x 1 convolution, which batch statistics follow, a shift changes nothing.
    It has no gradient but rounding, which Adam makes as large as any other step; the curves part when statistics freeze.
    """
    recipe = write_recipe(folder / "recipe", steps=STEPS, warmup_steps=WARMUP_STEPS, kind="fused")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*launch, *map(str, (SCRIPT, recipe, data, folder / "shapes"))],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "shapes.training" / "curve.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """Noise, mixtures, two image sizes, batch statistics in the warm-up, and tasks after it; the same batches cut in two."""
    write_split(tmp_path / "data" / "train.parquet", tracks=8, seed=0)
    alone, together = (train(tmp_path / str(n), tmp_path / "data", processes=n) for n in (1, 2))
    assert [record["step"] for record in together] == list(range(1, STEPS + 1))
    for mine, theirs in zip(together, alone, strict=True):
        for loss in ("full", "small"):
            assert mine[loss] == pytest.approx(theirs[loss], abs=1e-4), f"{loss} in step {mine['step']}"
    first, second = (load_file(tmp_path / n / "shapes.training" / "checkpoint-0.safetensors") for n in ("1", "2"))
    for name in ("images", *(name for name in first if name.startswith("average."))):
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-3, msg=name)
    assert Assembler.load(open_supernet(tmp_path / "2" / "shapes")).supernet
