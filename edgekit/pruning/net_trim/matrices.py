"""Convolutions and linear layers as matrices: a convolution is a linear layer on patches of its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Weighted = nn.Conv2d | nn.Linear


def positions_of(layer: Weighted, y: Tensor) -> int:
    """Outputs of one neuron for one input: pixels of (N, M, H, W), vectors of (N, ..., M)."""
    return y[0, 0].numel() if isinstance(layer, nn.Conv2d) else y[0, ..., 0].numel()


def inputs_at(layer: Weighted, x: Tensor, at_NS: Tensor) -> Tensor:
    """What flows into the neurons at positions `at_NS` of each input's output, (N * S, inputs)."""
    if isinstance(layer, nn.Linear):
        rows_NPD = x.reshape(len(x), -1, x.shape[-1])
    else:
        padded = F.pad(x, _padding(layer), mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
        patches_NDP = F.unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
        rows_NPD = patches_NDP.transpose(1, 2)
    return _taken(rows_NPD, at_NS)


def outputs_at(layer: Weighted, y: Tensor, at_NS: Tensor) -> Tensor:
    """The neurons' outputs at the same positions, (N * S, neurons)."""
    rows_NPM = y.flatten(2).transpose(1, 2) if isinstance(layer, nn.Conv2d) else y.reshape(len(y), -1, y.shape[-1])
    return _taken(rows_NPM, at_NS)


def matrix_of(layer: Weighted) -> Tensor:
    """Its weights (inputs, neurons) in float64."""
    return layer.weight.detach().double().flatten(1).T


def set_matrix(layer: Weighted, w_NM: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(w_NM.T.reshape(layer.weight.shape))


def _taken(rows_NPD: Tensor, at_NS: Tensor) -> Tensor:
    picked_NSD = torch.take_along_dim(rows_NPD, at_NS[:, :, None], dim=1)
    return picked_NSD.reshape(-1, rows_NPD.shape[-1])


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, as torch's own forward pass has it."""
    if layer.padding == "valid":
        return 0, 0, 0, 0
    if layer.padding == "same":
        (top, bottom), (left, right) = (
            (total // 2, total - total // 2)
            for total in (d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
        )
        return left, right, top, bottom
    rows, columns = (int(one) for one in layer.padding)
    return columns, columns, rows, rows
