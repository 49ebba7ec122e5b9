"""Shortcuts that pad channels (ResNet's option A), as the fixed convolution that they are."""

from __future__ import annotations

import torch
from torch import fx, nn

from edgekit.passes.graph_reading import Shape, function_name, shapes_of, tidied


def pads_as_convolutions(module: fx.GraphModule, input_shape: Shape) -> list[str]:
    """Puts a 1x1 convolution of zeros and ones in the place of each padding of channels, and of the striding before it.

    The order of its inputs and of its outputs can then change as that of any other convolution. Changes `module` in place; the
    names of the new layers.
    """
    shapes = shapes_of(module, input_shape)
    names = []
    for node in list(module.graph.nodes):
        before = _channels_before(node)
        if before is None or len(shapes[node]) != 4:
            continue
        source, stride = _strided(node.all_input_nodes[0])
        inputs, outputs = shapes[source][1], shapes[node][1]
        layer = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[before + torch.arange(inputs), torch.arange(inputs)] = 1
        name = f"{node.name}_convolution"
        module.add_submodule(name, layer.eval())
        with module.graph.inserting_before(node):
            node.replace_all_uses_with(module.graph.call_module(name, (source,)))
        names.append(name)
    tidied(module)
    return names


def _channels_before(node: fx.Node) -> int | None:
    """How many zeros it puts before the channels, where it pads channels with zeros and nothing else."""
    if function_name(node) not in {"pad", "constant_pad_nd"} or len(node.args) < 2:
        return None
    pads, rest = node.args[1], (*node.args[2:], *node.kwargs.values())
    if (
        not isinstance(pads, (tuple, list))
        or len(pads) != 6
        or any(given not in {"constant", 0, None} for given in rest)
    ):
        return None
    before, after = int(str(pads[4])), int(str(pads[5]))
    return before if not any(pads[:4]) and min(before, after) >= 0 < before + after else None


def _strided(node: fx.Node) -> tuple[fx.Node, tuple[int, int]]:
    """(what every so manieth position is taken of, how many down and across)"""
    if function_name(node) == "getitem" and isinstance(node.args[1], tuple) and len(node.args[1]) == 4:
        batch, channels, *rest = node.args[1]
        whole = batch == channels == slice(None)
        if whole and all(isinstance(one, slice) and one.start is None and one.stop is None for one in rest):
            down, across = (one.step or 1 for one in rest if isinstance(one, slice))
            return node.all_input_nodes[0], (down, across)
    return node, (1, 1)
