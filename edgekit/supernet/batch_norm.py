"""Batch normalisation whose batch, in training, is that of all processes together."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

EPSILON = 1e-5


def batch_norm(
    x_NCHW: Tensor, mean_C: Tensor, var_C: Tensor, gamma_C: Tensor, beta_C: Tensor, training: bool, momentum: float
) -> Tensor:
    """`F.batch_norm`, by the moments of all processes' images where several train together, as many images on each.

    In training it moves `mean_C` and `var_C` in place. What is exchanged is as small as the channels; torch's SyncBatchNorm
    does the same, on GPUs alone.
    """
    processes = dist.get_world_size() if training and dist.is_available() and dist.is_initialized() else 1
    if processes == 1:
        return F.batch_norm(x_NCHW, mean_C, var_C, gamma_C, beta_C, training, momentum, EPSILON)
    # In bfloat16 a mean over thousands of positions would keep three digits.
    x_float_NCHW = x_NCHW.float()
    batch_mean_C = _mean_of_processes(x_float_NCHW.mean((0, 2, 3)))
    centred_NCHW = x_float_NCHW - batch_mean_C[:, None, None]
    batch_var_C = _mean_of_processes(centred_NCHW.square().mean((0, 2, 3)))
    with torch.no_grad():
        values = processes * x_NCHW.numel() // x_NCHW.shape[1]
        mean_C.lerp_(batch_mean_C, momentum)
        var_C.lerp_(batch_var_C * (values / (values - 1)), momentum)
    scale_C = gamma_C * (batch_var_C + EPSILON).rsqrt()
    return (centred_NCHW * scale_C[:, None, None] + beta_C[:, None, None]).to(x_NCHW.dtype)


class _MeanOfProcesses(torch.autograd.Function):
    """Each process's mean depends on every process's values alike, so the gradients are averaged in the same way."""

    @staticmethod
    def forward(_: object, mine_C: Tensor) -> Tensor:
        total_C = mine_C.clone()
        dist.all_reduce(total_C)
        return total_C / dist.get_world_size()

    @staticmethod
    def backward(_: object, gradient_C: Tensor) -> Tensor:
        return _MeanOfProcesses.forward(_, gradient_C)


def _mean_of_processes(mine_C: Tensor) -> Tensor:
    averaged_C: Tensor = _MeanOfProcesses.apply(mine_C)  # type: ignore[no-untyped-call]
    return averaged_C
