"""PruneFL (Jiang et al., arXiv 1909.12326) as a course: all layers at once take the weights of the largest mean squared gradients.

As published the number of kept weights follows from a time model; here it is held, so that methods are compared at equal
density. Clients send the gradient of every pruned weight in a round of reconfiguration. Of kept weights it is the step that
the round moved them, over learning rate and steps.
"""

from __future__ import annotations

import torch

from edgekit.federated.course import ADJUSTED, Course
from edgekit.federated.layout import Layout
from edgekit.federated.state import State
from edgekit.federated.training import Learnt
from edgekit.pruning.masks import apply_masks, global_masks, kept

EVERY = 5
"""Rounds between reconfigurations; 50 in the paper's thousands of rounds."""


class PruneFL(Course):
    def _counts(self, state: State) -> dict[str, int]:
        if state.rounds % EVERY or not 0 < state.rounds < ADJUSTED * self.settings.rounds:
            return {}
        free = {name: mask.numel() - int(mask.sum()) for name, mask in state.masks.items()}
        return {name: count for name, count in free.items() if count}

    def _exchange(
        self,
        state: State,
        counts: dict[str, int],  # noqa: ARG002
        learnt: Learnt,
        layout: Layout,
    ) -> int:
        before, total = state.masks, kept(state.masks)
        steps = max(1, round(sum(one.samples for one in learnt.updates) / len(learnt.updates) / self.settings.batch))
        moved = learnt.vector_V - learnt.asked_V
        scores, first = {}, 0
        for name, _ in layout.pruned:
            mask = before[name].flatten()
            score = torch.zeros(mask.numel())
            number = int(mask.sum())
            score[mask] = torch.from_numpy(moved[first : first + number]) / (learnt.learning_rate * steps)
            first += number
            if name in learnt.grown:
                score[learnt.grown[name].index_A] = learnt.grown[name].value_A
            scores[name] = score.square().view(before[name].shape)
        state.masks = global_masks(scores, total)
        apply_masks(self.module, state.masks)
        state.vector_V = layout.vector(self.module, state.masks)
        return sum(int((state.masks[name] & ~before[name]).sum()) for name in before)
