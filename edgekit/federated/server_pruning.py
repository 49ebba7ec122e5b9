"""The candidate that the server makes alone: pruned gradually, while it learns from pictures that the server has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, fx, nn

from edgekit.pruning.gradual import prune_gradually
from edgekit.pruning.masked_training import Loss, rise_and_fall
from edgekit.pruning.masks import Masks
from edgekit.pruning.targets import Answers, loss_of

STEPS: Final = 400
BATCH: Final = 64
LEARNING_RATE: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerPictures:
    """No client's: `x_NCHW` as the network takes them, and where known the numbers of the outputs that are right, `y_N`."""

    x_NCHW: Tensor
    y_N: Tensor | None = None


def pruned_by_server(
    module: fx.GraphModule,
    pictures: ServerPictures,
    *,
    density: float,
    generator: torch.Generator,
    prune: Callable[[nn.Module, float, Sequence[tuple[float, Loss]]], Masks] = prune_gradually,
) -> tuple[fx.GraphModule, Masks]:
    """A copy that has learnt, under its masks, what the dense network answers, and the labels where there are any."""
    dense, pupil = copy.deepcopy(module).eval(), copy.deepcopy(module)

    def loss(pupil: nn.Module, some_B: Tensor) -> Tensor:
        x_B = pictures.x_NCHW[some_B]
        with torch.no_grad():
            answer_BK = dense(x_B)
        y_B = None if pictures.y_N is None else pictures.y_N[some_B]
        return loss_of(Answers.LOGITS, pupil(x_B), answer_BK, y_B)

    number = len(pictures.x_NCHW)
    steps = []
    for step in range(STEPS):
        some_B = torch.randint(number, (min(BATCH, number),), generator=generator)
        share = step / STEPS
        steps.append((LEARNING_RATE * rise_and_fall(share, share), partial(loss, some_B=some_B)))
    masks = prune(pupil, density, steps)
    return pupil, masks
