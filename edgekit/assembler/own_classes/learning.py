"""Own classes from a few pictures: which labels stand in for them when bricks are chosen, and the head of the chosen subnet."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from edgekit.assembler.own_classes.discriminant import Values
from edgekit.assembler.own_classes.head import OwnHead, fit_head
from edgekit.supernet.subnet import Subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.grammar import canonical_text
from edgekit.tasks.task import Task
from edgekit.tasks.vocabulary import Vocabulary

ASKED_A_CLASS = 10
BATCH = 50


@torch.inference_mode()
def stand_ins(supernet: Supernet, vocabulary: Vocabulary, x_NCHW: Tensor, y_N: NDArray[np.int64]) -> Task:
    """The task of the labels that the full supernet takes the classes for: one label for each class, no two alike.

    Of all such choices the one with the highest sum of mean probabilities, over the first ASKED_A_CLASS pictures of every
    class. `x_NCHW` float32 in [0, 1]. There must be no more classes than labels. The task says which bricks matter; what it
    is predicted to reach says nothing of the classes themselves.
    """
    means_CL = torch.stack(
        [
            supernet(x_NCHW[torch.from_numpy(np.flatnonzero(y_N == c)[:ASKED_A_CLASS])], supernet.spec.full)
            .softmax(1)
            .mean(0)
            for c in range(int(y_N.max()) + 1)
        ]
    )
    _, labels = linear_sum_assignment(means_CL.numpy(), maximize=True)
    indices = tuple(sorted(labels.tolist()))
    return Task(indices=indices, text=canonical_text(indices, vocabulary))


@torch.no_grad()
def with_own_head(subnet: Subnet, x_NCHW: Tensor, y_N: NDArray[np.int64]) -> tuple[Subnet, OwnHead]:
    """The subnet's trunk with a head for the classes of the pictures, `x_NCHW` float32 in [0, 1] at the subnet's size.

    Raises BadInputError where the trunk makes the same of all pictures.
    """
    learnt = fit_head(pooled(subnet, x_NCHW), y_N)
    head = nn.Linear(learnt.w_CD.shape[1], learnt.w_CD.shape[0])
    head.weight.copy_(torch.from_numpy(learnt.w_CD))
    head.bias.copy_(torch.from_numpy(learnt.b_C))
    return Subnet(subnet.trunk, head, None).eval().requires_grad_(False), learnt


@torch.inference_mode()
def pooled(subnet: Subnet, x_NCHW: Tensor) -> Values:
    """The features `f_ND` that a head sees."""
    features = [subnet.trunk(batch_NCHW).mean((2, 3)) for batch_NCHW in torch.split(x_NCHW, BATCH)]
    return torch.cat(features).double().numpy()
