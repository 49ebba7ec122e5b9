"""The module as TFLite wants to see it: channels last at both ends, and no layout change within."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode


class ChannelsLast(nn.Module):
    """Takes and gives arrays of rank 4 as `x_NHWC` where the wrapped module has `x_NCHW`; others are as they are."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x_N: Tensor) -> Tensor:
        with _KeepsLayout():
            y_N: Tensor = self.module(x_N.permute(0, 3, 1, 2) if x_N.ndim == 4 else x_N)
        return y_N.permute(0, 2, 3, 1) if y_N.ndim == 4 else y_N


class _KeepsLayout(TorchFunctionMode):
    """Computes two operators such that litert_torch leaves no TRANSPOSE around them.

    `x_NCHW.mean((2, 3))` at rank 4, flattened afterwards: the converter finds the channels-last form of an operator only where
    input and output are of rank 4. Zero padding with channels last, of x times one: the converter has no such form of it, and
    the layout changes around it vanish only where no other reader of x shares them; the product keeps them apart until it is
    folded away.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.pad and args[0].ndim == 4:
            x_NHWC = args[0].permute(0, 2, 3, 1) * 1.0
            w_h_c_n = [*args[1], *[0] * (8 - len(args[1]))]
            pads = [*w_h_c_n[4:6], *w_h_c_n[:4], *w_h_c_n[6:]]
            return func(x_NHWC, pads, *args[2:], **kwargs).permute(0, 3, 1, 2)
        y = func(*args, **kwargs)
        if func in (torch.mean, torch.Tensor.mean) and y.ndim == 2 and args[0].ndim == 4:
            axes = args[1] if len(args) > 1 else kwargs["dim"]
            if sorted(axis % 4 for axis in axes) == [2, 3]:
                return args[0].mean((2, 3), keepdim=True).flatten(1)
        return y
