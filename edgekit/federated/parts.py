"""Which part of a network a client trains: all of it, or what little memory affords."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from edgekit.federated.layout import Layout
from edgekit.pruning.batch_norm_selection import norms_of
from edgekit.pruning.masks import Masks, prunable
from edgekit.pruning.units import units_of

LAST_UNITS = 2


class Part(StrEnum):
    """After MobileTL (arXiv 2212.02062): with shifts and the last blocks alone, no layer before them keeps its input."""

    ALL = "all"
    LIGHT = "light"
    """The shifts of normalisation, whose statistics stay as they are, and all parameters of the last blocks."""


def trained(module: fx.GraphModule, part: Part) -> frozenset[str]:
    """Names of the parameters."""
    names = [name for name, _ in module.named_parameters()]
    if part is Part.ALL:
        return frozenset(names)
    last = {name for unit in units_of(module, tuple(prunable(module)))[-LAST_UNITS:] for name in unit}
    layers = {name.rpartition(".")[0] for name in last}
    shifts = {f"{name}.bias" for name, layer in norms_of(module).items() if layer.affine}
    return frozenset(name for name in names if name in shifts or name.rpartition(".")[0] in layers)


@contextmanager
def training_only(module: fx.GraphModule, part: Part) -> Iterator[None]:
    """All other parameters need no gradient meanwhile."""
    chosen = trained(module, part)
    needed = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    try:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in chosen)
        yield
    finally:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(needed[name])


def covered(module: fx.GraphModule, layout: Layout, masks: Masks, part: Part) -> NDArray[np.bool_]:
    """`has_V`: which coordinates of a vector the part trains, or measures."""
    chosen = trained(module, part)
    sizes = [(name, int(masks[name].sum())) for name, _ in layout.pruned]
    sizes += [(name, int(torch.Size(shape).numel())) for name, shape in layout.dense]
    parts = [np.full(size, name in chosen) for name, size in sizes]
    return np.concatenate([*parts, np.full(layout.moments, part is Part.ALL)])
