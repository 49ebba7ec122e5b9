"""Several subnets in a row in torch: which one answers, and what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_supernet import SIZE, draw_all
from torch import Tensor

from edgekit.supernet.early_exit import EarlyExitNetwork, sharpened
from edgekit.supernet.storage import WEIGHTS, open_supernet
from edgekit.supernet.subnet import Subnet, slice_subnet
from edgekit.tasks.task import Task

TASK = Task(indices=(0, 1, 2, 3, 4, 5), text="")
THRESHOLDS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.01)


@pytest.fixture(scope="module")
def stages(tiny_supernet: Path) -> tuple[Subnet, Subnet]:
    """The smallest slice and the full one."""
    folder = open_supernet(tiny_supernet)
    supernet = folder.load(folder.read_tensors(WEIGHTS))
    first, last = (slice_subnet(supernet, genotype, TASK) for genotype in (folder.spec.smallest, folder.spec.full))
    return first, last


@pytest.fixture(scope="module", name="x_NCHW")
def faded_stripes() -> Tensor:
    x_NHWC, _ = draw_all(60, np.random.default_rng(5))
    stripes_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).float() / 255
    return 0.5 * stripes_NCHW + 0.5 * torch.rand(stripes_NCHW.shape, generator=torch.Generator().manual_seed(0))


def network(stages: tuple[Subnet, Subnet], threshold: float) -> EarlyExitNetwork:
    return EarlyExitNetwork(stages, (SIZE, SIZE), threshold=threshold)


@torch.inference_mode()
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_each_picture_is_answered_by_the_first_that_is_sure(
    stages: tuple[Subnet, Subnet], x_NCHW: Tensor, threshold: float
) -> None:
    p_NK, stage_N = network(stages, threshold)(x_NCHW)
    first_NK, last_NK = (stage(x_NCHW) for stage in stages)
    sure_N = first_NK.amax(1) >= threshold
    assert torch.equal(stage_N, (~sure_N).long())
    assert torch.allclose(p_NK, torch.where(sure_N[:, None], first_NK, last_NK), atol=1e-6)


@torch.inference_mode()
def test_a_higher_threshold_never_lets_more_pictures_leave(stages: tuple[Subnet, Subnet], x_NCHW: Tensor) -> None:
    early = [int((network(stages, threshold)(x_NCHW)[1] == 0).sum()) for threshold in THRESHOLDS]
    assert early == sorted(early, reverse=True)
    assert (early[0], early[-1]) == (len(x_NCHW), 0)
    assert len(set(early)) > 3


@torch.inference_mode()
def test_each_stage_sees_the_picture_at_its_own_size(x_NCHW: Tensor) -> None:
    class Width(torch.nn.Module):
        def forward(self, x_NCHW: Tensor) -> Tensor:
            return torch.full((len(x_NCHW), 2), x_NCHW.shape[-1] / 100)

    p_NK, stage_N = EarlyExitNetwork([Width(), Width()], (8, SIZE), threshold=0.1)(x_NCHW[:3])
    assert p_NK.unique().tolist() == pytest.approx([SIZE / 100])
    assert stage_N.tolist() == [1, 1, 1]


@torch.inference_mode()
def test_sharpened_logits_change_how_sure_a_network_is_and_not_what_it_answers(
    stages: tuple[Subnet, Subnet], x_NCHW: Tensor
) -> None:
    first, _ = stages
    before_NK, after_NK = first(x_NCHW), sharpened(first, 2.0)(x_NCHW)
    assert torch.equal(before_NK.argmax(1), after_NK.argmax(1))
    assert torch.allclose(after_NK, (2 * first.logits(x_NCHW)).softmax(1), atol=1e-6)
    assert (after_NK.amax(1) >= before_NK.amax(1)).all()
