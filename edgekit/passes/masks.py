"""Masks beside a module that a pass has changed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def surviving(masks: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Those of parameters that are still there, have their shape, and hold zero wherever it is masked."""
    parameters = dict(module.named_parameters())
    return {
        name: mask
        for name, mask in masks.items()
        if name in parameters
        and parameters[name].shape == mask.shape
        and not bool(parameters[name].detach()[~mask].any())
    }
