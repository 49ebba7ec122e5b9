"""Accuracy on labelled images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tiny_supernet import LABELS, draw_all

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.quantity import Evidence
from edgekit.pipeline.evaluate import evaluate
from edgekit.supernet.storage import WEIGHTS, open_supernet

IMAGES = draw_all(90, np.random.default_rng(3))


def png(x_HWC: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(x_HWC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    x_NHWC, y_N = IMAGES
    table = pa.table({"image": [{"bytes": png(x_HWC), "path": None} for x_HWC in x_NHWC], "label": y_N.tolist()})
    pq.write_table(table, folder / "test.parquet")
    return folder


def answers(tiny_supernet: Path, genotype: str) -> np.ndarray:
    """Of the gated supernet, image by image."""
    from edgekit.supernet.genotype import Genotype

    folder = open_supernet(tiny_supernet)
    supernet = folder.load(folder.read_tensors(WEIGHTS))
    x_NCHW = torch.from_numpy(IMAGES[0]).permute(0, 3, 1, 2).float() / 255
    logits = [supernet.forward_gated(x_CHW[None], Genotype.parse(genotype)) for x_CHW in x_NCHW]
    return torch.cat(logits).argmax(1).numpy()


@pytest.mark.parametrize("genotype", [None, "00.01.00", "05.0a.01"])
def test_accuracy_is_the_share_of_right_answers(tiny_supernet: Path, data: Path, genotype: str | None) -> None:
    found = evaluate(tiny_supernet, data, genotype=genotype)
    right = answers(tiny_supernet, genotype or str(open_supernet(tiny_supernet).spec.full)) == IMAGES[1]
    assert found.images == len(right)
    assert found.accuracy.value == pytest.approx(right.mean())
    assert found.accuracy.evidence is Evidence.MEASURED
    assert found.accuracy.interval is not None
    assert [recall.label for recall in found.recalls] == list(LABELS)
    for label, recall in enumerate(found.recalls):
        assert recall.images == 15
        assert recall.recall == pytest.approx(right[IMAGES[1] == label].mean())
    assert found.to_json()["accuracy"]["evidence"] == "measured"


def test_a_genotype_of_another_supernet_is_refused(tiny_supernet: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="is not a genotype"):
        evaluate(tiny_supernet, data, genotype="everything")
    with pytest.raises(BadInputError, match="blocks"):
        evaluate(tiny_supernet, data, genotype="01.01")


def test_missing_data_is_bad_input(tiny_supernet: Path, data: Path) -> None:
    with pytest.raises(BadInputError, match="no validation"):
        evaluate(tiny_supernet, data, split="validation")
