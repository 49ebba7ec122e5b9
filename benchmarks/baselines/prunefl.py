"""PruneFL (Jiang et al., arXiv 1909.12326): a client, or as here the server, prunes first; all clients together then reconfigure.

As in the authors' code (jiangyuang/PruneFL, control/algorithm.py) the smallest weights of each layer are under discussion together
with all pruned ones, and those of the largest squared gradients stay. There a time model says how many are kept; here that number
is held, so that methods are compared at equal density. A client squares the gradient of its loss over all its samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.federated.client import LocalSamples
from edgekit.federated.course import ADJUSTED, Course
from edgekit.federated.layout import Layout
from edgekit.federated.state import State
from edgekit.pruning.gradual import STEPS_BETWEEN, density_at
from edgekit.pruning.masked_training import Loss, descend, masked_momenta
from edgekit.pruning.masks import Masks, apply_masks, global_masks, kept, kept_in_total, largest, prunable

EVERY = 5
"""Rounds between reconfigurations; 50 in the paper's thousands of rounds."""
DISCUSSED = 0.3
"""Share of a layer's kept weights that may be lost at once, as in the authors' configurations."""
BATCH = 32


def reconfigured(module: nn.Module, masks: Masks, squares: Mapping[str, Tensor], total: int) -> Masks:
    """`total` weights: those not discussed, and of the others those of the largest `squares`."""
    share = max(DISCUSSED, 1 - total / kept(masks))
    scores = {}
    for name, weight in prunable(module).items():
        safe = largest(weight.detach().abs() * masks[name], int((1 - share) * int(masks[name].sum())))
        scores[name] = squares[name].masked_fill(safe, float("inf"))
    return global_masks(scores, total)


def prune_at_first(module: nn.Module, density: float, steps: Sequence[tuple[float, Loss]]) -> Masks:
    """Trains in place, and reconfigures to fewer weights meanwhile."""
    weights = prunable(module)
    sizes = [weight.numel() for weight in weights.values()]
    masks: Masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    momenta: dict[str, Tensor] = {}
    for first in range(0, len(steps), STEPS_BETWEEN):
        some = steps[first : first + STEPS_BETWEEN]
        squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}

        def note_and_mask(squares: dict[str, Tensor] = squares, masks: Masks = masks) -> None:
            for name, weight in weights.items():
                if weight.grad is not None:
                    squares[name] += weight.grad.square()
                    weight.grad.mul_(masks[name])

        momenta = descend(module, masked_momenta(momenta, masks), some, note_and_mask)
        share = (first + len(some)) / len(steps)
        masks = reconfigured(module, masks, squares, kept_in_total(sizes, density_at(share, density)))
        apply_masks(module, masks)
    return masks


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneFL(Course):
    """`samples_by_name` are the clients', who send the squares of every weight when it is time."""

    samples_by_name: Mapping[str, LocalSamples]

    def _round(self, state: State, conversation) -> None:
        Course._round(self, state, conversation)
        if state.rounds % EVERY or state.rounds >= ADJUSTED * self.settings.rounds:
            return
        samples = [self.samples_by_name[name] for name in state.records[-1].clients]
        squares = self._squares(samples)
        layout: Layout = conversation.layout
        layout.load(self.module, state.masks, state.vector_V)
        state.masks = dict(reconfigured(self.module, state.masks, squares, kept(state.masks)))
        apply_masks(self.module, state.masks)
        state.vector_V = layout.vector(self.module, state.masks)
        state.notes.append(RECONFIGURED)

    def _squares(self, clients: Sequence[LocalSamples]) -> dict[str, Tensor]:
        weights = prunable(self.module)
        squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.module.eval()
        for samples in clients:
            self.module.zero_grad()
            for some in torch.split(torch.arange(len(samples)), BATCH):
                loss = F.cross_entropy(self.module(samples.inputs(some, None)), samples.y_N[some], reduction="sum")
                (loss / len(samples)).backward()
            for name, weight in weights.items():
                if weight.grad is not None:
                    squares[name] += len(samples) * weight.grad.square()
        self.module.zero_grad()
        return squares


RECONFIGURED = "All clients of the round sent the squares of every weight."
