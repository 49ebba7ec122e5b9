"""Several processes train one supernet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from shapes_training import write_recipe, write_split

from edgekit.assembler.assembler import Assembler
from edgekit.supernet.storage import open_supernet

SCRIPT = Path(__file__).with_name("shapes_training.py")


def test_two_processes_train_one_supernet(tmp_path: Path) -> None:
    """They see other images and end with the same weights; the first one writes the folder."""
    write_split(tmp_path / "data" / "train.parquet", tracks=8, seed=0)
    recipe = write_recipe(tmp_path / "recipe", steps=8, warmup_steps=4)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [SCRIPT, recipe, tmp_path / "data", tmp_path / "shapes"]
    done = subprocess.run(
        [*launch, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (load_file(tmp_path / "shapes.training" / f"checkpoint-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        if name.startswith(("supernet.", "generator.", "average.")):
            assert torch.equal(tensor, second[name]), name
    assert not torch.equal(first["images"], second["images"]), "both processes drew the same images"
    assert Assembler.load(open_supernet(tmp_path / "shapes")).supernet
