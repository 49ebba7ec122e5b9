"""Puts channels into an order in which convolutions can become Ghost modules; the network computes the same as before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgekit.passes.channel_order import ChannelGroup, OrderCannotChange, choose, group_of
from edgekit.passes.frontier import Frontier
from edgekit.passes.ghost_initialisation import (
    assign_ghosts,
    choose_primaries,
    fit_pairs,
    order_of,
    variance_of,
)
from edgekit.passes.graph_reading import GraphReading, Shape, shapes_of
from edgekit.passes.places import Places, Window, draw_places, windows_at
from edgekit.passes.sites import Site, sites_of

Order = Callable[[Tensor, int], Tensor]
"""(errors of all pairs, ratio) -> the channels in the order of a Ghost module."""
POINT = Window(kernel=(1, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    """At how many places of `x_batches` errors are counted, and `kernel`, the size of the depthwise convolution."""

    x_batches: Sequence[Tensor]
    kernel: int
    places: int
    seed: int

    @property
    def window(self) -> Window:
        return Window(kernel=(self.kernel, self.kernel), padding=(self.kernel // 2, self.kernel // 2))

    @property
    def images(self) -> int:
        return sum(map(len, self.x_batches))


def best_order(error_CC: Tensor, ratio: int) -> Tensor:
    primaries = choose_primaries(error_CC, len(error_CC) // ratio)
    return order_of(primaries, assign_ghosts(error_CC, primaries, ratio))


def groups_of(module: fx.GraphModule, input_shape: Shape, names: Sequence[str]) -> dict[str, ChannelGroup | str]:
    """What shares the order of each layer's channels, or why that cannot change."""
    reading, shapes, sites = GraphReading(module), shapes_of(module, input_shape), sites_of(module)
    groups: dict[str, ChannelGroup | str] = {}
    for name in names:
        try:
            groups[name] = group_of(reading, shapes, sites[name].end)
        except OrderCannotChange as obstacle:
            groups[name] = f"its channels cannot be reordered: {obstacle}"
    return groups


def pair_errors(module: fx.GraphModule, names: Sequence[str], fitting: Fitting) -> dict[str, Tensor]:
    """`error_CC` of each layer, by its variance: what making channel j of channel i would cost."""
    frontier = Frontier(module, fitting.x_batches)
    return {name: _errors(frontier, site, fitting) for name, site in sites_of(module).items() if name in names}


def places_in(x_batches: Sequence[Tensor], fitting: Fitting) -> Places:
    """The same ones for every map of one size."""
    generator = torch.Generator().manual_seed(fitting.seed)
    return draw_places(fitting.images, tuple(x_batches[0].shape), fitting.places, generator)


def _errors(frontier: Frontier, site: Site, fitting: Fitting) -> Tensor:
    raw = frontier.values(site.start)
    places = places_in(raw, fitting)
    wanted_CT = site.before_activation(windows_at(raw, POINT, places).flatten(0, 1))
    patches_CKT = windows_at(frontier.values(site.end), fitting.window, places)
    error_CC = fit_pairs(patches_CKT, wanted_CT, wanted_CT, site.activation).error_CC
    return error_CC / variance_of(site.activation(wanted_CT))


def arrange(
    modules: Sequence[fx.GraphModule],
    masks: dict[str, Tensor],
    groups: Sequence[ChannelGroup],
    errors: dict[str, Tensor],
    ratio: int,
    order: Order = best_order,
) -> None:
    """Gives each group one order, the best for all its writers of `errors` together; changes `modules`, all alike, and `masks`.

    An error counts by how much the readers make of its channel.
    """
    arranged: set[str] = set()
    for group in groups:
        writers = sorted(group.writers & set(errors))
        if arranged.isdisjoint(writers):
            total_CC = torch.stack([errors[name] for name in writers]).sum(0)
            index = order(total_CC * weights_of(modules[0], group), ratio)
            for number, module in enumerate(modules):
                choose(module, {} if number else masks, group, index)
            arranged.update(writers)


def weights_of(module: fx.GraphModule, group: ChannelGroup) -> Tensor:
    """`weight_C`: the norm of each channel's weights in all that reads it, 1 in root mean square."""
    energy_C = torch.zeros(())
    for name, features in group.readers.items():
        weight_OI = module.get_parameter(f"{name}.weight").detach()
        energy_C = energy_C + weight_OI.square().sum(0).reshape(weight_OI.shape[1] // features, -1).sum(1)
    return (energy_C / energy_C.mean().clamp(min=1e-12)).sqrt()
