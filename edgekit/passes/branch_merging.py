"""Linear branches that read one tensor and are summed are one convolution: kernels add up, each around its own centre."""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.networks.layers import replaced
from edgekit.passes.batch_norm_folding import affine_of
from edgekit.passes.graph_reading import GraphReading, Shape, shapes_of, tidied

Pair = tuple[int, int]
# In eval mode what they give is what they got.
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """From `source` to a term of a sum: a convolution, float64, and its own name where it has one."""

    source: fx.Node
    name: str
    label: str
    w_OIHW: Tensor
    bias_O: Tensor
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def merge_branches(module: fx.GraphModule, input_shape: Shape) -> list[tuple[str, list[str]]]:
    """Changes `module` in place: (layer, the branches it stands for), once for each merged convolution."""
    shapes = shapes_of(module, input_shape)
    reading = GraphReading(module)
    merged = []
    for node in list(module.graph.nodes):
        if not _is_whole_sum(reading, node):
            continue
        terms = _terms(reading, node)
        if any(shapes[term] != shapes[node] or len(shapes[node]) != 4 for term in terms):
            continue
        by_source = defaultdict(list)
        for term in terms:
            branch = _branch(reading, term, shapes)
            by_source[branch.source if branch else term].append((term, branch))
        kept: list[fx.Node] = []
        for group in by_source.values():
            branches = [branch for _, branch in group if branch is not None]
            one = _one_of(branches, shapes[branches[0].source], shapes[node]) if len(branches) > 1 else None
            if one is None:
                kept += [term for term, _ in group]
                continue
            kept.append(_insert(module, one, node))
            merged.append((one.name, [branch.label for branch in branches]))
        if len(kept) < len(terms):
            _sum(module.graph, node, kept)
    tidied(module)
    return merged


def _is_whole_sum(reading: GraphReading, node: fx.Node) -> bool:
    """Not a part of a larger sum."""
    return reading.is_sum(node) and not (len(node.users) == 1 and reading.is_sum(next(iter(node.users))))


def _terms(reading: GraphReading, node: fx.Node) -> list[fx.Node]:
    return [
        term
        for given in node.args
        if isinstance(given, fx.Node)
        for term in (_terms(reading, given) if reading.is_sum(given) and len(given.users) == 1 else [given])
    ]


def _branch(reading: GraphReading, term: fx.Node, shapes: dict[fx.Node, Shape]) -> Branch | None:
    """The longest that ends in the term: nothing, or one convolution with zero padding, and normalisations after it."""
    node, norms = term, []
    while len(node.users) == 1 and isinstance(module := reading.module_of(node), (_BatchNorm, *_NOTHING)):
        if isinstance(module, _BatchNorm):
            if module.running_mean is None:
                return None
            norms.append(node)
        node = node.all_input_nodes[0]
    convolution = reading.module_of(node)
    if len(node.users) == 1 and isinstance(convolution, nn.Conv2d) and reading.is_alone(node):
        if convolution.padding_mode != "zeros":
            return None
        branch = _of_convolution(node, convolution)
    else:
        branch = _identity(node, shapes[node][1])
    for norm_node in reversed(norms):
        norm = reading.module_of(norm_node)
        assert isinstance(norm, _BatchNorm)  # noqa: S101
        affine = affine_of(norm)
        branch = replace(
            branch,
            label=branch.label if branch.name else str(norm_node.target),
            w_OIHW=branch.w_OIHW * affine.scale_C[:, None, None, None],
            bias_O=branch.bias_O * affine.scale_C + affine.shift_C,
        )
    return branch


def _of_convolution(node: fx.Node, layer: nn.Conv2d) -> Branch:
    weight = layer.weight.detach().double()
    if layer.padding == "same":
        # An uneven rest of padding would lie below and right; the shape of the output then refuses the merge.
        padding = tuple(step * (size - 1) // 2 for size, step in zip(layer.kernel_size, layer.dilation, strict=True))
    else:
        padding = (0, 0) if isinstance(layer.padding, str) else layer.padding
    return Branch(
        source=node.all_input_nodes[0],
        name=str(node.target),
        label=str(node.target),
        w_OIHW=weight,
        bias_O=weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double(),
        stride=_pair(layer.stride),
        padding=_pair(padding),
        dilation=_pair(layer.dilation),
        groups=layer.groups,
    )


def _identity(source: fx.Node, channels: int) -> Branch:
    """A depthwise convolution that changes nothing."""
    return Branch(
        source=source,
        name="",
        label="identity",
        w_OIHW=torch.ones(channels, 1, 1, 1, dtype=torch.float64),
        bias_O=torch.zeros(channels, dtype=torch.float64),
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=channels,
    )


def _pair(values: tuple[int, ...]) -> Pair:
    first, second = values
    return first, second


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Along one axis: where in the merged kernel each branch's kernel begins."""

    size: int
    padding: int
    dilation: int
    starts: tuple[int, ...]


def _one_of(branches: list[Branch], source: Shape, output: Shape) -> Branch | None:
    """The one convolution that they are together, in the place of the largest of them.

    None where there is no convolution among them, where their positions do not fit, or where it would take more MACs.
    """
    named = [branch for branch in branches if branch.name]
    largest = max(named, key=lambda branch: branch.w_OIHW.numel(), default=None)
    if largest is None or len({branch.stride for branch in branches}) > 1:
        return None
    down, across = (_placement(branches, axis, source[2 + axis], output[2 + axis]) for axis in (0, 1))
    if down is None or across is None:
        return None
    groups = math.gcd(*(branch.groups for branch in branches))
    w_OIHW = largest.w_OIHW.new_zeros(output[1], source[1] // groups, down.size, across.size)
    if w_OIHW.numel() > sum(branch.w_OIHW.numel() for branch in named):
        return None
    for branch, y, x in zip(branches, down.starts, across.starts, strict=True):
        height, width = branch.w_OIHW.shape[2:]
        w_OIHW[:, :, y : y + height, x : x + width] += _in_groups(branch, groups)
    return replace(
        largest,
        w_OIHW=w_OIHW,
        bias_O=torch.stack([branch.bias_O for branch in branches]).sum(0),
        padding=(down.padding, across.padding),
        dilation=(down.dilation, across.dilation),
        groups=groups,
    )


def _placement(branches: list[Branch], axis: int, given: int, wanted: int) -> Placement | None:
    sizes = [branch.w_OIHW.shape[2 + axis] for branch in branches]
    # The step of a kernel of one is without effect.
    steps = {branch.dilation[axis] for branch, size in zip(branches, sizes, strict=True) if size > 1} or {1}
    padding = max(branch.padding[axis] for branch in branches)
    step = max(steps)
    shifts = [padding - branch.padding[axis] for branch in branches]
    if len(steps) > 1 or any(shift % step for shift in shifts):
        return None
    starts = tuple(shift // step for shift in shifts)
    size = max(start + own for start, own in zip(starts, sizes, strict=True))
    outputs = (given + 2 * padding - step * (size - 1) - 1) // branches[0].stride[axis] + 1
    return Placement(size=size, padding=padding, dilation=step, starts=starts) if outputs == wanted else None


def _in_groups(branch: Branch, groups: int) -> Tensor:
    """Its kernels with zeros for the inputs that other groups of its own read, `groups` dividing its own."""
    outputs, inputs, height, width = branch.w_OIHW.shape
    ratio = branch.groups // groups
    wide = branch.w_OIHW.new_zeros(groups, ratio, outputs // branch.groups, ratio, inputs, height, width)
    own = branch.w_OIHW.reshape(groups, ratio, -1, inputs, height, width)
    for index in range(ratio):
        wide[:, index, :, index] = own[:, index]
    return wide.reshape(outputs, ratio * inputs, height, width)


def _insert(module: fx.GraphModule, branch: Branch, before: fx.Node) -> fx.Node:
    layer = nn.Conv2d(
        branch.w_OIHW.shape[1] * branch.groups,
        len(branch.w_OIHW),
        (branch.w_OIHW.shape[2], branch.w_OIHW.shape[3]),
        stride=branch.stride,
        padding=branch.padding,
        dilation=branch.dilation,
        groups=branch.groups,
    ).to(module.get_parameter(f"{branch.name}.weight"))
    with torch.no_grad():
        layer.weight.copy_(branch.w_OIHW)
        assert layer.bias is not None  # noqa: S101
        layer.bias.copy_(branch.bias_O)
    replaced(module, branch.name, layer.eval())
    with module.graph.inserting_before(before):
        return module.graph.call_module(branch.name, (branch.source,))


def _sum(graph: fx.Graph, node: fx.Node, terms: list[fx.Node]) -> None:
    """In the place of `node`."""
    total = terms[0]
    with graph.inserting_before(node):
        for term in terms[1:]:
            total = graph.call_function(operator.add, (total, term))
    node.replace_all_uses_with(total)
    graph.erase_node(node)
