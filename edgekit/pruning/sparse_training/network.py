"""A network whose prunable weights exist as values at kept positions only."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.pruning.progressive import Sparse
from edgekit.pruning.sparse_training.layers import SparseConv2d, SparseLayer, SparseLinear
from edgekit.pruning.sparse_training.recomputation import Recomputing, out_of_place


class SparseNetwork(nn.Module):
    """A copy of `module` with the weights `kept`, by parameter name, flat indices ascending. Layers keep their names.

    The weights of `module` that `kept` names are not read or copied: they may be on the device "meta", so that a client never
    holds them. What `module` does with its input must not depend on the input's values (torch.fx).
    """

    def __init__(self, module: nn.Module, kept: Mapping[str, Sparse]) -> None:
        super().__init__()
        unread = {id(one): nn.Parameter(torch.empty_like(one, device="meta")) for one in _named(module, kept).values()}
        body = copy.deepcopy(module, {**unread})
        if not isinstance(body, fx.GraphModule):
            body = fx.symbolic_trace(body)
        _replace(body, kept)
        out_of_place(body.graph, dict(body.named_modules()))
        self.graph = body.graph
        for name, child in body.named_children():
            self.add_module(name, child)
        for name, parameter in body.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in body.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.train(module.training)

    def forward(self, *args: Tensor) -> Any:
        return Recomputing(self, self.graph).run(*args)

    def sparse_layers(self) -> dict[str, SparseLayer]:
        """By the name of their weight; those that share one count once."""
        found: dict[str, SparseLayer] = {}
        seen: set[int] = set()
        for name, layer in self.named_modules():
            if isinstance(layer, (SparseConv2d, SparseLinear)) and id(layer.weight) not in seen:
                seen.add(id(layer.weight))
                found[f"{name}.weight"] = layer
        return found

    def kept(self) -> dict[str, Sparse]:
        """A copy of the kept weights."""
        return {
            name: Sparse(index_A=layer.positions(), value_A=layer.weight.detach().clone())
            for name, layer in self.sparse_layers().items()
        }

    @property
    def executed_macs(self) -> int:
        """Multiply-accumulates that its sparse layers have done since it was made, forth and back."""
        layers = {id(one): one for one in self.modules() if isinstance(one, (SparseConv2d, SparseLinear))}
        return sum(layer.counter.macs for layer in layers.values())


def _named(module: nn.Module, names: Mapping[str, object]) -> dict[str, nn.Parameter]:
    return {name: module.get_parameter(name) for name in names}


def _replace(body: nn.Module, kept: Mapping[str, Sparse]) -> None:
    """Puts sparse layers in the place of those whose weights are named, and of those that share them."""
    name_of = {id(parameter): name for name, parameter in _named(body, kept).items()}
    sparse: dict[int, SparseLayer] = {}
    shared: dict[str, nn.Parameter] = {}
    for path, layer in list(body.named_modules(remove_duplicate=False)):
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or id(layer.weight) not in name_of:
            continue
        name = name_of[id(layer.weight)]
        if id(layer) not in sparse:
            new = SparseConv2d(layer, kept[name]) if isinstance(layer, nn.Conv2d) else SparseLinear(layer, kept[name])
            new.weight = shared.setdefault(name, nn.Parameter(new.weight))
            sparse[id(layer)] = new
        body.set_submodule(path, sparse[id(layer)])
