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


_ATEN = torch.ops.aten
_MEANS = (torch.mean, torch.Tensor.mean, _ATEN.mean, _ATEN.mean.dim)
_PADS = (F.pad, _ATEN.pad, _ATEN.pad.default, _ATEN.constant_pad_nd, _ATEN.constant_pad_nd.default)


class _KeepsLayout(TorchFunctionMode):
    """Computes two operators such that litert_torch leaves no TRANSPOSE around them.

    `x_NCHW.mean((2, 3))` and zero padding of `x_NCHW` are written with channels last: the converter has such a form of a mean only
    where its output is of rank 4 too, and none of padding. Padding is of x times one, because the changes of layout around it
    vanish only where no other reader of x shares them; the product keeps them apart until it is folded away.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _PADS and args[0].ndim == 4:
            padded = _padded(*args, **kwargs)
            if padded is not None:
                return padded
        y = func(*args, **kwargs)
        if func in _MEANS and y.ndim == 2 and args[0].ndim == 4:
            axes = args[1] if len(args) > 1 else kwargs["dim"]
            if sorted(axis % 4 for axis in axes) == [2, 3]:
                return args[0].permute(0, 2, 3, 1).mean((1, 2))
        return y


def _padded(
    x_NCHW: Tensor, pad: Sequence[int], *how: Any, mode: str = "constant", value: float | None = None
) -> Tensor | None:
    """With a constant; None where something else is wanted. `how` is what torch takes by place: mode, value, or value alone."""
    for given in how:
        mode, value = (given, value) if isinstance(given, str) else (mode, given)
    if mode != "constant":
        return None
    whcn = [*pad, *[0] * (8 - len(pad))]  # two numbers an axis, from the last axis on
    x_NHWC = x_NCHW.permute(0, 2, 3, 1) * 1.0
    return F.pad(x_NHWC, [*whcn[4:6], *whcn[:4], *whcn[6:]], "constant", value).permute(0, 3, 1, 2)
