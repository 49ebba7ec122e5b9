"""A supernet that is to learn labels later must never have seen them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fewer_labels import shortened, write_images
from PIL import Image

from edgekit.assembler.training.data import read_parquet


def picture(grey: int) -> dict[str, bytes | None]:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def test_images_of_labels_left_out_are_gone_and_the_others_keep_theirs(tmp_path: Path) -> None:
    labels = [0, 1, 2, 3, 1, 3]
    for shard, rows in enumerate((labels[:4], labels[4:])):
        (tmp_path / "all").mkdir(exist_ok=True)
        table = pa.table({"image": [picture(40 * label) for label in rows], "label": rows})
        pq.write_table(table, tmp_path / "all" / f"train-{shard}.parquet")
    write_images(tmp_path / "all", tmp_path / "fewer", np.array([0, -1, 1, 2]))
    kept = read_parquet(tmp_path / "fewer", "train", image_size=8, labels=3)
    assert kept.y_N.tolist() == [0, 1, 2, 2]
    assert kept.x_NCHW[:, 0, 0, 0].tolist() == [0, 80, 120, 120]


def test_only_name_and_length_of_the_recipe_change() -> None:
    recipe = 'name = "things"\nsteps = 300\nwarmup_steps = 200  # long\nbatch = 8\n'
    assert shortened(recipe, "fewer", 0.5) == 'name = "fewer"\nsteps = 150\nwarmup_steps = 100  # long\nbatch = 8\n'
