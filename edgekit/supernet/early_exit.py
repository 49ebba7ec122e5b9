"""Several subnets in a row, each of which answers where it is sure: in torch, what compiled ones must equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekit.supernet.resizing import resized
from edgekit.supernet.subnet import Subnet


class EarlyExitNetwork(nn.Module):
    """`stages[i]` takes pictures of `image_sizes[i]` x `image_sizes[i]` and gives probabilities; the last answers whatever is left.

    The state that one hands to the next is the picture alone. Each is static, and only this module decides between them.
    """

    def __init__(self, stages: Sequence[nn.Module], image_sizes: Sequence[int], *, threshold: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.image_sizes, self.threshold = tuple(image_sizes), threshold

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(`p_NK`, `stage_N`): the answers to pictures of any size, and which stage gave each. N is at least 1."""
        answers = [self.answer(x_1CHW) for x_1CHW in torch.split(x_NCHW, 1)]
        p_NK = torch.cat([p_1K for p_1K, _ in answers])
        return p_NK, torch.tensor([stage for _, stage in answers])

    def answer(self, x_1CHW: Tensor) -> tuple[Tensor, int]:
        """(`p_1K`, the stage that answered) of one picture."""
        *_, last = range(len(self.stages))
        for index, (stage, size) in enumerate(zip(self.stages, self.image_sizes, strict=True)):
            p_1K: Tensor = stage(resized(x_1CHW, size))
            if index == last or bool(p_1K.max() >= self.threshold):
                break
        return p_1K, index


@torch.no_grad()
def sharpened(subnet: Subnet, factor: float) -> Subnet:
    """The same trunk under a head whose logits are `factor` times as large: the same answers, surer or less sure of them."""
    head = nn.Linear(subnet.head.in_features, subnet.head.out_features)
    head.weight.copy_(subnet.head.weight * factor)
    head.bias.copy_(subnet.head.bias * factor)
    return Subnet(subnet.trunk, head, subnet.grouping).eval().requires_grad_(False)
