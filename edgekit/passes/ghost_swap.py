"""Swaps convolutions for Ghost modules one after the other, each fitted to what the layers before have become."""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgekit.passes.frontier import Frontier
from edgekit.passes.ghost_arrangement import POINT, Fitting
from edgekit.passes.ghost_initialisation import fit, variance_of
from edgekit.passes.ghost_modules import GhostModule, insert
from edgekit.passes.graph_reading import tidied
from edgekit.passes.places import Places, draw_places, window_of, windows_at
from edgekit.passes.refitting import MAX_REGRESSORS, refit
from edgekit.passes.sites import Site, sites_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Swapped:
    """`residual` is the share of the layer's variance that its ghosts miss."""

    residual: float
    swapped: bool


@dataclass(slots=True)
class Cascade:
    """Works on `module` in place, whose channels are in the order of Ghost modules; `original` computes what it is to compute.

    `ridge` of refitting the convolutions behind a change (None: they stay), but those of `kept`. A layer is left whose residual
    is above `max_residual`.
    """

    module: fx.GraphModule
    original: fx.GraphModule
    fitting: Fitting
    ratio: int
    max_residual: float
    ridge: float | None
    kept: Collection[str] = ()

    def run(self, names: Sequence[str], deadline: float | None = None) -> dict[str, Swapped]:
        """By layer, those not reached before the deadline left out."""
        now, before = (Frontier(module, self.fitting.x_batches) for module in (self.module, self.original))
        outcomes: dict[str, Swapped] = {}
        for name, wanted in sites_of(self.original).items():
            if deadline is not None and time.monotonic() > deadline:
                break
            raw = before.values(wanted.start)
            places = draw_places(
                self.fitting.images,
                tuple(raw[0].shape),
                self.fitting.places,
                torch.Generator().manual_seed(self.fitting.seed),
            )
            raw_CT = windows_at(raw, POINT, places).flatten(0, 1)
            site = sites_of(self.module)[name]
            changed = any(outcome.swapped for outcome in outcomes.values())
            given = now.values(site.start.all_input_nodes[0])
            if changed and self.ridge is not None and name not in self.kept:
                _refit(site, given, raw_CT, places, self.ridge)
            if name in names:
                outcomes[name] = self._swap(site, given, wanted.before_activation(raw_CT), places)
        return outcomes

    def _swap(self, site: Site, given: Sequence[Tensor], wanted_CT: Tensor, places: Places) -> Swapped:
        primaries = len(wanted_CT) // self.ratio
        ghost = GhostModule(
            first_outputs(site.layer, primaries),
            ratio=self.ratio,
            kernel=self.fitting.kernel,
            activation=site.activation,
        )
        with torch.no_grad():
            raw = [ghost.primary(x_NCHW) for x_NCHW in given]
            give_norm(ghost.primary_norm, site, windows_at(raw, POINT, places).flatten(0, 1))
            ghost.eval()
            finished = [ghost.primary_activation(ghost.primary_norm(one_NCHW)) for one_NCHW in raw]
        error = give_ghosts(ghost, windows_at(finished, self.fitting.window, places), wanted_CT[primaries:])
        residual = error / variance_of(site.activation(wanted_CT))
        if residual <= self.max_residual:
            insert(self.module, site.name, ghost, start=site.start, end=site.end)
            tidied(self.module)
        return Swapped(residual=residual, swapped=residual <= self.max_residual)


def _refit(site: Site, given: Sequence[Tensor], wanted_OT: Tensor, places: Places, ridge: float) -> None:
    window = window_of(site.layer)
    if window is not None and site.layer.weight[0].numel() <= MAX_REGRESSORS:
        refit(site.layer, site.norm, windows_at(given, window, places).flatten(0, 1), wanted_OT, ridge=ridge)


def give_ghosts(ghost: GhostModule, patches_CKT: Tensor, wanted_GT: Tensor) -> float:
    """Fits the cheap channels to what they are to be before the activation; the squared error behind it."""
    activation, size = ghost.cheap_activation, ghost.cheap.kernel_size
    each = len(wanted_GT) // len(patches_CKT)
    error = 0.0
    for index, shifts_KT in enumerate(patches_CKT):
        own = slice(index * each, (index + 1) * each)
        w_QK, predicted_QT = fit(shifts_KT, wanted_GT[own], activation)
        error += float((activation(predicted_QT) - activation(wanted_GT[own])).square().sum())
        with torch.no_grad():
            ghost.cheap.weight[own] = w_QK[:, :-1].reshape(-1, 1, *size)
        give_moments(ghost.cheap_norm, own, predicted_QT - w_QK[:, -1:], w_QK[:, -1])
    return error


def first_outputs(layer: nn.Conv2d, count: int) -> nn.Conv2d:
    """The convolution that computes its first channels alone."""
    first = copy.deepcopy(layer)
    first.weight = nn.Parameter(layer.weight.detach()[:count].clone())
    if layer.bias is not None:
        first.bias = nn.Parameter(layer.bias.detach()[:count].clone())
    first.out_channels = count
    return first


def give_norm(norm: nn.BatchNorm2d, site: Site, raw_CT: Tensor) -> None:
    """The normalisation that the first channels had; where they had none, one that changes nothing."""
    if site.norm is None:
        give_moments(norm, slice(None), raw_CT, torch.zeros(len(raw_CT)))
        return
    norm.eps = site.norm.eps
    with torch.no_grad():
        for name, tensor in (*norm.named_parameters(), *norm.named_buffers()):
            if tensor.ndim and (before := getattr(site.norm, name)) is not None:
                tensor.copy_(before[: len(tensor)])


def give_moments(norm: nn.BatchNorm2d, channels: slice, raw_CT: Tensor, constant_C: Tensor) -> None:
    """Makes the normalisation add a constant and nothing else, also after its statistics were measured again."""
    assert norm.running_mean is not None  # noqa: S101
    assert norm.running_var is not None  # noqa: S101
    var_C, mean_C = torch.var_mean(raw_CT, dim=1, correction=0)
    with torch.no_grad():
        norm.running_mean[channels], norm.running_var[channels] = mean_C, var_C
        norm.weight[channels] = (var_C + norm.eps).sqrt()
        norm.bias[channels] = mean_C + constant_C
