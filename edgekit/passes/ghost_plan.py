"""Which convolutions a Ghost module may stand in for, and what that would save on a target."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import fx, nn

from edgekit.core.operators import Operator
from edgekit.networks.description import describe
from edgekit.passes.channel_order import ChannelGroup
from edgekit.passes.ghost_arrangement import groups_of
from edgekit.passes.ghost_cascade import Form
from edgekit.passes.ghost_modules import GhostModule
from edgekit.passes.ghost_weights import first_outputs, neutral_gate
from edgekit.passes.graph_reading import Shape, shapes_of
from edgekit.passes.sites import Site, sites_of

_WORTH: Final = 0.95
"""Saving less is within the error of a cost model, and not worth what a swap costs in accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    macs: int
    ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A convolution, and the form that saves most; `reason` says why it is not to be swapped, "" if it is.

    For a sum, the work is that of the layer and of those that read it: they read fewer channels.
    """

    name: str
    reason: str
    form: Form | None = None
    group: ChannelGroup | None = None
    before: Work | None = None
    after: Work | None = None


@dataclass(slots=True)
class Planner:
    module: fx.GraphModule
    input_shape: Shape
    latency_ms: Callable[[Sequence[Operator]], float]
    ratio: int
    kernel: int

    def candidates(self, forms: Collection[Form]) -> dict[str, Candidate]:
        """For every convolution, in execution order, the fastest of the forms that are possible there."""
        sites = sites_of(self.module)
        groups = groups_of(self.module, self.input_shape, list(sites))
        shapes = shapes_of(self.module, self.input_shape)
        pricing = _Pricing(latency_ms=self.latency_ms, kernel=self.kernel, ratio=self.ratio, known={})
        return {
            name: self._candidate(site, groups[name], sites, shapes, forms, pricing) for name, site in sites.items()
        }

    def _candidate(
        self,
        site: Site,
        group: ChannelGroup | str,
        sites: Mapping[str, Site],
        shapes: Mapping[fx.Node, Shape],
        forms: Collection[Form],
        pricing: _Pricing,
    ) -> Candidate:
        if site.layer.out_channels % self.ratio or site.layer.out_channels == 1:
            return Candidate(name=site.name, reason=f"its channels are not a multiple of {self.ratio}")
        if isinstance(group, str):
            return Candidate(name=site.name, reason=group)
        found = []
        for form in forms:
            if form is not Form.CONCAT and not _stands_alone(site, group, sites):
                continue
            if form is Form.GATED and min(shapes[site.start.all_input_nodes[0]][2:]) < 2:
                continue
            readers = [sites[name] for name in group.readers] if form is Form.SUM else []
            before, after = pricing.work(site, form, readers, shapes)
            found.append(
                Candidate(
                    name=site.name,
                    reason="" if after.ms < _WORTH * before.ms else "it would not be faster on the target",
                    form=form,
                    group=group,
                    before=before,
                    after=after,
                )
            )
        none = Candidate(name=site.name, reason="other layers write its channels, or no ReLU follows")
        return max(found, key=_saved, default=none)


def _saved(candidate: Candidate) -> float:
    assert candidate.before is not None  # noqa: S101
    assert candidate.after is not None  # noqa: S101
    return candidate.before.ms - candidate.after.ms


def _stands_alone(site: Site, group: ChannelGroup, sites: Mapping[str, Site]) -> bool:
    """Whether it alone writes the channels, behind a ReLU, and convolutions alone read them."""
    return (
        group.writers == {site.name}
        and isinstance(site.activation, nn.ReLU)
        and not group.fixed
        and all(name in sites for name in group.readers)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pricing:
    latency_ms: Callable[[Sequence[Operator]], float]
    kernel: int
    ratio: int
    known: dict[tuple[str, Shape], Work]

    def work(
        self, site: Site, form: Form, readers: Sequence[Site], shapes: Mapping[fx.Node, Shape]
    ) -> tuple[Work, Work]:
        """(before, after)"""
        given = shapes[site.start.all_input_nodes[0]][1:]
        primaries = site.layer.out_channels // self.ratio
        ghost = GhostModule(
            first_outputs(site.layer, primaries), ratio=self.ratio, kernel=self.kernel, activation=site.activation
        )
        new: nn.Module = ghost
        if form is Form.GATED:
            height, width = shapes[site.start][2:]
            new = neutral_gate(ghost, size=(height, width))
        elif form is Form.SUM:
            # As it is once fold::reparameterise has merged its branches.
            cheap = nn.Conv2d(primaries, primaries, self.kernel, padding=self.kernel // 2, groups=primaries)
            new = nn.Sequential(ghost.primary, site.activation, cheap, site.activation)
        before = [self._of(site.layer, given)]
        after = [self._of(new, given)]
        for reader in readers:
            read = shapes[reader.start.all_input_nodes[0]][1:]
            before.append(self._of(reader.layer, read))
            after.append(self._of(_narrower(reader.layer, primaries), (primaries, *read[1:])))
        return _total(before), _total(after)

    def _of(self, module: nn.Module, given: Shape) -> Work:
        key = (repr(module), given)
        if key not in self.known:
            operators = describe(module, given).operators
            self.known[key] = Work(macs=sum(one.macs for one in operators), ms=self.latency_ms(operators))
        return self.known[key]


def _total(works: Sequence[Work]) -> Work:
    return Work(macs=sum(work.macs for work in works), ms=sum(work.ms for work in works))


def _narrower(layer: nn.Conv2d, channels: int) -> nn.Conv2d:
    return nn.Conv2d(
        channels,
        layer.out_channels,
        (layer.kernel_size[0], layer.kernel_size[1]),
        stride=(layer.stride[0], layer.stride[1]),
        padding=layer.padding if isinstance(layer.padding, str) else (layer.padding[0], layer.padding[1]),
        dilation=(layer.dilation[0], layer.dilation[1]),
        bias=layer.bias is not None,
    )
