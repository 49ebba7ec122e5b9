"""What moves or joins values stands in no kernel's way: the layer behind it is computed in integers too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from digits_network import model_of
from torch import Tensor, nn

from edgekit.exporters.onnx_file import convert_onnx
from edgekit.exporters.onnx_quantization import quantize_onnx

pytest.importorskip("tvm", reason="TVM is not installed")


class Moved(nn.Module):
    def __init__(self, move: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.move = move
        self.one, self.two, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.LazyConv2d(4, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.one(x_NCHW)
        y_NCHW: Tensor = self.last(self.move(x_NCHW, self.two(x_NCHW)))
        return y_NCHW


MOVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "joined": lambda x_NCHW, y_NCHW: torch.cat([x_NCHW, y_NCHW], 1),
    "pooled": lambda _, y_NCHW: nn.functional.max_pool2d(y_NCHW, 2),
    "reshaped": lambda _, y_NCHW: y_NCHW.reshape(-1, 4, 16, 8),
}


@pytest.mark.parametrize("move", MOVES)
def test_layers_behind_are_kernels_of_integers(move: str) -> None:
    from edgekit.exporters.tvm.network import channels_last
    from edgekit.exporters.tvm.products import products_of

    network = Moved(MOVES[move])
    network(torch.zeros(1, 3, 8, 8))
    x_N = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    int8 = quantize_onnx(convert_onnx(model_of(network.eval(), (3, 8, 8))), x_N)
    products = products_of(channels_last(int8, "int8"))
    executed = {workload.precision for _, workload in products if workload is not None}
    assert (len(products), executed) == (3, {"int8"})
    assert all(workload is not None for _, workload in products)


def test_a_grouped_convolution_is_named_as_one_without_a_kernel() -> None:
    from edgekit.exporters.tvm.network import channels_last
    from edgekit.exporters.tvm.products import products_of

    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=2)).eval()
    products = products_of(channels_last(convert_onnx(model_of(network, (3, 8, 8))), "int8"))
    assert [(name, workload is None) for name, workload in products] == [("nn.conv2d", False), ("nn.conv2d", True)]
