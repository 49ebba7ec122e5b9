"""The module as TFLite wants to see it: channels last at the input, and no layout change within."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class ChannelsLast(nn.Module):
    """Takes `x_NHWC` where the wrapped module takes `x_NCHW`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x_NHWC: Tensor) -> Tensor:
        with _SpatialMeanKeepsRank():
            p_NK: Tensor = self.module(x_NHWC.permute(0, 3, 1, 2))
        return p_NK


class _SpatialMeanKeepsRank(TorchFunctionMode):
    """Computes `x_NCHW.mean((2, 3))` at rank 4 and flattens it afterwards.

    litert_torch finds the channels-last form of an operator only where input and output are of rank 4; a mean that
    drops its axes would leave a TRANSPOSE before it in the file.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        y = func(*args, **kwargs)
        if func in (torch.mean, torch.Tensor.mean) and y.ndim == 2 and args[0].ndim == 4:
            axes = args[1] if len(args) > 1 else kwargs["dim"]
            if sorted(axis % 4 for axis in axes) == [2, 3]:
                return args[0].mean((2, 3), keepdim=True).flatten(1)
        return y
