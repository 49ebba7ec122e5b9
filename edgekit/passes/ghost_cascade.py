"""Swaps convolutions for Ghost modules one after the other, each fitted to what the layers before have become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor, fx, nn

from edgekit.passes.channel_order import ChannelGroup, choose
from edgekit.passes.frontier import Frontier
from edgekit.passes.ghost_arrangement import POINT, Fitting, places_in
from edgekit.passes.ghost_initialisation import variance_of
from edgekit.passes.ghost_modules import GhostModule, insert
from edgekit.passes.ghost_weights import first_outputs, give_ghosts, give_norm, neutral_gate, neutral_sum
from edgekit.passes.graph_reading import tidied
from edgekit.passes.places import Places, window_of, windows_at
from edgekit.passes.refitting import MAX_REGRESSORS, refit
from edgekit.passes.sites import Site, sites_of


class Form(StrEnum):
    """What a convolution becomes."""

    CONCAT = "concat"
    """Computed channels and, behind them, cheap ones."""
    SUM = "sum"
    """The computed channels alone, a depthwise convolution added to each: RepGhost."""
    GATED = "gated"
    """As CONCAT, weighed by rows and columns: GhostNetV2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Swapped:
    """`residual` is the share of the layer's variance that its ghosts miss."""

    residual: float
    swapped: bool


@dataclass(slots=True)
class Cascade:
    """Works on `module` and `masks` in place, whose channels are in the order of Ghost modules; `original` computes what `module`
    is to compute, in the same order.

    `groups` has the channels of the layers that are to be swapped; a sum needs one whose only writer is the layer. `ridge` of
    refitting the convolutions behind a change (None: they stay), but masked ones. A layer is left whose residual is above
    `max_residual`.
    """

    module: fx.GraphModule
    original: fx.GraphModule
    masks: dict[str, Tensor]
    groups: Mapping[str, ChannelGroup]
    fitting: Fitting
    ratio: int
    max_residual: float
    ridge: float | None

    def run(self, forms: Mapping[str, Form], late: Callable[[], bool] = lambda: False) -> dict[str, Swapped]:
        """By layer, those not reached before it was late left out."""
        now, before = (Frontier(module, self.fitting.x_batches) for module in (self.module, self.original))
        outcomes: dict[str, Swapped] = {}
        changed = False
        for name, wanted in sites_of(self.original).items():
            if late():
                break
            raw = before.values(wanted.start)
            places = places_in(raw, self.fitting)
            raw_CT = windows_at(raw, POINT, places).flatten(0, 1)
            site = sites_of(self.module)[name]
            given = now.values(site.start.all_input_nodes[0])
            if changed and self.ridge is not None and f"{name}.weight" not in self.masks:
                _refit(site, given, raw_CT, places, self.ridge)
            if name in forms:
                outcomes[name] = self._swap(site, forms[name], given, wanted.before_activation(raw_CT), places)
                changed |= outcomes[name].swapped
        return outcomes

    def _swap(self, site: Site, form: Form, given: Sequence[Tensor], wanted_CT: Tensor, places: Places) -> Swapped:
        primaries, kernel = len(wanted_CT) // self.ratio, self.fitting.kernel
        primary = first_outputs(site.layer, primaries)
        ghost = GhostModule(primary, ratio=self.ratio, kernel=kernel, activation=site.activation)
        with torch.no_grad():
            raw = [primary(x_NCHW) for x_NCHW in given]
            give_norm(ghost.primary_norm, site, windows_at(raw, POINT, places).flatten(0, 1))
            finished = [site.activation(ghost.primary_norm.eval()(one_NCHW)) for one_NCHW in raw]
        patches_CKT = windows_at(finished, self.fitting.window, places)
        error = give_ghosts(ghost, patches_CKT, wanted_CT[primaries:])
        residual = error / variance_of(site.activation(wanted_CT))
        if residual > self.max_residual:
            return Swapped(residual=residual, swapped=False)
        new: nn.Module = ghost
        if form is Form.GATED:
            new = neutral_gate(ghost, size=(places.height, places.width))
        elif form is Form.SUM:
            new = neutral_sum(ghost, patches_CKT[:, patches_CKT.shape[1] // 2])
            behind = replace(self.groups[site.name], writers=set())
            choose(self.module, self.masks, behind, torch.arange(primaries))
        insert(self.module, site.name, new.eval(), start=site.start, end=site.end)
        tidied(self.module)
        return Swapped(residual=residual, swapped=True)


def _refit(site: Site, given: Sequence[Tensor], wanted_OT: Tensor, places: Places, ridge: float) -> None:
    window = window_of(site.layer)
    if window is not None and site.layer.weight[0].numel() <= MAX_REGRESSORS:
        refit(site.layer, site.norm, windows_at(given, window, places).flatten(0, 1), wanted_OT, ridge=ridge)
