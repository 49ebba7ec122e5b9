"""A convolution behind a change, fitted anew so that it gives what it gave before."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

MAX_REGRESSORS = 2400
"""Values per window for which the linear system is still solved in seconds."""


def refit(layer: nn.Conv2d, norm: _BatchNorm | None, x_RT: Tensor, wanted_OT: Tensor, *, ridge: float) -> None:
    """Least squares on the windows `x_RT` that it reads now, towards its outputs of before, before normalisation.

    Ridge regression of the *change* of the weights, with `ridge` times the mean square of a regressor. The constant goes into the
    normalisation's running mean where there is one, else into the bias.
    """
    weight = layer.weight.detach()
    w_OR = weight.flatten(1)
    mean_R, mean_O = x_RT.mean(1), wanted_OT.mean(1)
    centred_RT = x_RT - mean_R[:, None]
    missing_OT = wanted_OT - mean_O[:, None] - w_OR @ centred_RT
    gram_RR = (centred_RT @ centred_RT.T).double()
    gram_RR += (ridge * gram_RR.diagonal().mean() + 1e-12) * torch.eye(len(gram_RR), dtype=torch.float64)
    change_RO = torch.linalg.solve(gram_RR, (centred_RT @ missing_OT.T).double())
    new_OR = w_OR + change_RO.T.to(w_OR)
    constant_O = mean_O - new_OR @ mean_R
    layer.weight = nn.Parameter(new_OR.reshape(weight.shape))
    if norm is not None and norm.running_mean is not None:
        if layer.bias is not None:
            constant_O = constant_O - layer.bias.detach()
        norm.running_mean -= constant_O
    else:
        layer.bias = nn.Parameter(constant_O)
