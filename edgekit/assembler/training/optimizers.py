"""The optimizers that a recipe may name, each as one thing that takes a step."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import torch
from torch import Tensor, nn


class OptimizerKind(StrEnum):
    """ADAMW for all weights; or MUON for the kernels of convolutions, as matrices, and AdamW for the rest."""

    ADAMW = "adamw"
    MUON = "muon"


class Optimizers:
    """Moves parameters by their gradients; the kernels of convolutions decay.

    Muon (K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) makes all directions of a matrix's
    momentum equally long. A kernel is taken for the matrix of its filters, (O, H W I), which shares its memory; depthwise
    kernels, which have one channel in, stay with AdamW. Steps are as long as AdamW's (arXiv 2502.16982, eq. 4), so that one
    learning rate serves both.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], kind: OptimizerKind, *, weight_decay: float) -> None:
        self.parameters = list(parameters)
        of_muon = [
            kind is OptimizerKind.MUON and parameter.ndim == 4 and parameter.shape[1] > 1
            for parameter in self.parameters
        ]
        kernels = [parameter for parameter, chosen in zip(self.parameters, of_muon, strict=True) if chosen]
        others = [parameter for parameter, chosen in zip(self.parameters, of_muon, strict=True) if not chosen]
        self._matrices = [(kernel, nn.Parameter(_filters(kernel.detach()))) for kernel in kernels]
        groups: list[dict[str, object]] = [
            {"params": [weight for weight in others if weight.ndim > 2], "weight_decay": weight_decay},
            {"params": [other for other in others if other.ndim <= 2], "weight_decay": 0.0},
        ]
        self.each: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)]
        if kernels:
            matrices = [matrix for _, matrix in self._matrices]
            muon = torch.optim.Muon(matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            self.each.append(muon)

    def step(self, *, learning_rate: float) -> None:
        """Takes a step and clears the gradients. Parameters without one stay as they are."""
        for kernel, matrix in self._matrices:
            matrix.grad = None if kernel.grad is None else _filters(kernel.grad)
        for optimizer in self.each:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None


def _filters(kernel_OIHW: Tensor) -> Tensor:
    """(O, H W I) or (O, I H W), as it lies in memory."""
    channels_last = kernel_OIHW.is_contiguous(memory_format=torch.channels_last)
    laid_out = kernel_OIHW.permute(0, 2, 3, 1) if channels_last else kernel_OIHW.contiguous()
    return laid_out.view(len(laid_out), -1)
