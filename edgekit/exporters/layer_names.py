"""Which operators of a file from litert_torch belong to which layer of the module.

The converter names a tensor after the modules that its operator comes from, each by its class and the last part of its name:
`with_full_names` makes that part the whole name. Normalisation and activation are fused into the operator of their layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.exporters.flatbuffer import operator_name

if TYPE_CHECKING:
    from torch import fx

_DOT = "~"  # stands in no name of a module
_LAYER = re.compile(r"torch\.nn\.modules\.(?:conv|linear)\.[A-Za-z0-9]+_([^;/]+);")
_LAYER_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLayer:
    """`operator` is its convolution or matrix product as the file calls it, `tensors` names what that and all operators that
    follow it until the next layer write."""

    operator: str
    tensors: tuple[str, ...]


def with_full_names(module: fx.GraphModule) -> fx.GraphModule:
    """The same module, its leaves called by their whole names without a dot; they are shared, not copied."""
    from torch import fx

    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, val_map={}))
    attributes: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            leaf = module.get_submodule(node.target)
            node.target = node.target.replace(".", _DOT)
            attributes[node.target] = leaf
        elif node.op == "get_attr":
            owner, _, name = node.target.rpartition(".")
            attributes[node.target] = getattr(module.get_submodule(owner), name)
    return fx.GraphModule(attributes, graph).eval()


def file_layers(model: Any) -> Mapping[str, FileLayer]:
    """The layers of a `ModelT` whose tensors still have the converter's names, in the order of their operators.

    An operator without a layer of its own belongs to the last layer that it depends on, before the first layer to the first.
    """
    (graph,) = model.subgraphs
    layer_of: dict[int, int] = {}  # tensor -> place of its layer
    names: list[str] = []
    kinds: list[str] = []
    tensors: list[list[str]] = []
    leading: list[str] = []
    for operator in graph.operators:
        kind = operator_name(model.operatorCodes[operator.opcodeIndex])
        name = _layer(graph, operator) if kind in _LAYER_OPERATORS else None
        if name is not None:
            if name not in names:
                names.append(name)
                kinds.append(kind)
                tensors.append([])
            place = names.index(name)
        else:
            place = max((layer_of.get(index, -1) for index in operator.inputs), default=-1)
        for index in operator.outputs:
            layer_of[index] = place
            (tensors[place] if place >= 0 else leading).append(graph.tensors[index].name.decode())
    if tensors:
        tensors[0] += leading
    return {
        name: FileLayer(operator=kind, tensors=tuple(written))
        for name, kind, written in zip(names, kinds, tensors, strict=True)
    }


def _layer(graph: Any, operator: Any) -> str | None:
    """By what it writes, or, where that is the output of the file and has its name, by its weights and biases."""
    for index in (operator.outputs[0], *operator.inputs[1:]):
        found = _LAYER.findall(graph.tensors[index].name.decode()) if index >= 0 else []
        if found:
            return str(found[-1].replace(_DOT, "."))
    return None
