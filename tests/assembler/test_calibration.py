"""Synthesised pictures stand in for images at every size that a subnet may take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_supernet import SPEC, draw_all
from torch import Tensor

from edgekit.assembler.training import calibration
from edgekit.assembler.training.calibration import moments_of_images, synthesise
from edgekit.supernet.resizing import resized
from edgekit.supernet.supernet import Supernet


def test_pictures_have_the_contrast_of_images_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a quantizer sees of a subnet that runs at half the size must not be paler than images are there."""
    monkeypatch.setattr(calibration, "STEPS", 120)
    monkeypatch.setattr(calibration, "BATCH", 24)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        supernet = Supernet(replace(SPEC, image_sizes=(8, 16))).eval().requires_grad_(False)
    images_NCHW = torch.from_numpy(draw_all(300, np.random.default_rng(0))[0]).permute(0, 3, 1, 2).float() / 255
    wanted = moments_of_images(supernet, images_NCHW)
    pictures_NCHW = synthesise(supernet, wanted, seed=0, report=lambda *_: None)
    assert (pictures_NCHW.dtype, tuple(pictures_NCHW.shape)) == (torch.uint8, (24, 3, 16, 16))

    def contrast(x_NCHW: Tensor, size: int) -> Tensor:
        return resized(x_NCHW, size).std((0, 2, 3))

    for size in (8, 16):
        ratio_C = contrast(pictures_NCHW.float() / 255, size) / contrast(images_NCHW, size)
        assert ((ratio_C > 0.85) & (ratio_C < 1.15)).all(), (size, ratio_C)
