"""Where a convolution can be swapped for something else."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.networks.layers import ACTIVATIONS
from edgekit.passes.batch_norm_folding import affine_of
from edgekit.passes.graph_reading import GraphReading


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A dense convolution, its normalisation and activation where they alone read it, and the last node of the three."""

    name: str
    start: fx.Node
    end: fx.Node
    layer: nn.Conv2d
    norm: _BatchNorm | None
    activation: nn.Module

    def before_activation(self, raw_CT: Tensor) -> Tensor:
        """`y_CT` of what the convolution gives."""
        if self.norm is None:
            return raw_CT
        affine = affine_of(self.norm)
        return raw_CT * affine.scale_C.to(raw_CT)[:, None] + affine.shift_C.to(raw_CT)[:, None]


def sites_of(module: fx.GraphModule) -> dict[str, Site]:
    """By name, in execution order; convolutions that are called several times are left out."""
    reading = GraphReading(module)
    sites = {}
    for node in module.graph.nodes:
        layer = reading.module_of(node)
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and reading.is_alone(node):
            end, norm = node, None
            reader = _only_reader(end)
            found = reading.module_of(reader)
            if reader is not None and isinstance(found, _BatchNorm) and found.running_mean is not None:
                end, norm = reader, found
                reader = _only_reader(end)
            activation = _activation(reading, reader)
            if reader is not None and activation is not None:
                end = reader
            sites[str(node.target)] = Site(
                name=str(node.target),
                start=node,
                end=end,
                layer=layer,
                norm=norm,
                activation=activation or nn.Identity(),
            )
    return sites


def _activation(reading: GraphReading, node: fx.Node | None) -> nn.Module | None:
    if node is None:
        return None
    if reading.is_relu(node):
        return nn.ReLU()
    module = reading.module_of(node)
    return module if isinstance(module, ACTIVATIONS) else None


def _only_reader(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
