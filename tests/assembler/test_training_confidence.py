"""How sure networks are is fitted to how often they are right, on pictures that trained nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_supernet import draw_all

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.training.augmentation import Augmentation
from edgekit.assembler.training.confidence import fit_confidence
from edgekit.assembler.training.data import Dataset
from edgekit.supernet.storage import open_supernet
from edgekit.supernet.supernet import Supernet

NOISE = Augmentation(noise=0.1)


@pytest.fixture(scope="module")
def assembler(tiny_supernet: Path) -> Assembler:
    return Assembler.load(open_supernet(tiny_supernet))


@pytest.fixture(scope="module")
def held_out() -> Dataset:
    """Some labels are wrong: what the network says of them is never right."""
    rng = np.random.default_rng(11)
    x_NHWC, y_N = draw_all(120, rng)
    wrong_N = rng.random(len(y_N)) < 0.1
    return Dataset(
        x_NCHW=np.ascontiguousarray(x_NHWC.transpose(0, 3, 1, 2)),
        y_N=np.where(wrong_N, (y_N + 1) % 6, y_N),
        group_N=np.full(len(y_N), -1),
    )


@torch.no_grad()
def quieter(supernet: Supernet, factor: float) -> Supernet:
    other = copy.deepcopy(supernet)
    other.head.weight *= factor
    other.head.bias *= factor
    return other


@pytest.mark.parametrize("factor", [0.1, 0.4])
def test_it_does_not_matter_how_much_a_supernet_claims(assembler: Assembler, held_out: Dataset, factor: float) -> None:
    plain, quiet = (
        fit_confidence(supernet, assembler.searcher, held_out, NOISE, seed=0)
        for supernet in (assembler.supernet, quieter(assembler.supernet, factor))
    )
    assert quiet.sharpness == pytest.approx(plain.sharpness / factor, rel=0.02)
    assert quiet.haze == pytest.approx(plain.haze, rel=0.1, abs=0.02)
    assert quiet.images == len(held_out)


def test_networks_that_are_wrong_more_often_may_claim_less(assembler: Assembler, held_out: Dataset) -> None:
    rng = np.random.default_rng(0)
    wronger = replace(held_out, y_N=np.where(rng.random(len(held_out)) < 0.3, rng.integers(0, 6, 120), held_out.y_N))
    some, more = (
        fit_confidence(assembler.supernet, assembler.searcher, one, NOISE, seed=0) for one in (held_out, wronger)
    )
    assert more.sharpness < some.sharpness
