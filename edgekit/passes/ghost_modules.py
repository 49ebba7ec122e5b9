"""Ghost modules, and how they come into a graph."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from edgekit.networks.layers import replaced


class GhostModule(nn.Module):
    """`x_NCHW` -> (N, ratio * m, H', W'): the m channels of `primary`, then `ratio - 1` cheap ones of each of them.

    Of GhostNet, arXiv 1911.11907, equation 3: a depthwise convolution makes cheap channels of finished primary ones.
    """

    def __init__(self, primary: nn.Conv2d, *, ratio: int, kernel: int, activation: nn.Module) -> None:
        super().__init__()
        channels = primary.out_channels
        self.primary, self.primary_norm = primary, nn.BatchNorm2d(channels)
        self.primary_activation = copy.deepcopy(activation)
        self.cheap = nn.Conv2d(
            channels, channels * (ratio - 1), kernel, padding=kernel // 2, groups=channels, bias=False
        )
        self.cheap_norm = nn.BatchNorm2d(channels * (ratio - 1))
        self.cheap_activation = copy.deepcopy(activation)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        z_NCHW = self.primary_activation(self.primary_norm(self.primary(x_NCHW)))
        ghosts_NCHW = self.cheap_activation(self.cheap_norm(self.cheap(z_NCHW)))
        return torch.cat([z_NCHW, ghosts_NCHW], 1)


class RepGhostModule(nn.Module):
    """`x_NCHW` -> (N, m, H', W'): instead of a concatenation, a sum that folds into one depthwise convolution.

    RepGhost, arXiv 2211.06088: the activation follows the sum.
    """

    def __init__(self, primary: nn.Conv2d, *, kernel: int, activation: nn.Module) -> None:
        super().__init__()
        channels = primary.out_channels
        self.primary, self.primary_norm = primary, nn.BatchNorm2d(channels)
        self.primary_activation = copy.deepcopy(activation)
        self.cheap = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.cheap_norm, self.identity_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.sum_activation = copy.deepcopy(activation)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        z_NCHW = self.primary_activation(self.primary_norm(self.primary(x_NCHW)))
        y_NCHW: Tensor = self.sum_activation(self.cheap_norm(self.cheap(z_NCHW)) + self.identity_norm(z_NCHW))
        return y_NCHW


class GatedGhostModule(nn.Module):
    """A Ghost module whose channels are weighed, at each place, by what the whole row and column there hold.

    The attention of GhostNetV2, arXiv 2211.12905 (DFC): at half the resolution, over `span` places across, then down.
    `size` is that of the output, (H', W').
    """

    def __init__(self, ghost: GhostModule, *, span: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.ghost = ghost
        primary, channels = ghost.primary, ghost.primary.out_channels + ghost.cheap.out_channels
        self.shrink = nn.AvgPool2d(2)
        self.mix = nn.Conv2d(
            primary.in_channels,
            channels,
            (primary.kernel_size[0], primary.kernel_size[1]),
            stride=(primary.stride[0], primary.stride[1]),
            padding=(primary.kernel_size[0] // 2, primary.kernel_size[1] // 2),
            bias=False,
        )
        self.mix_norm = nn.BatchNorm2d(channels)
        self.across = nn.Conv2d(channels, channels, (1, span), padding=(0, span // 2), groups=channels, bias=False)
        self.across_norm = nn.BatchNorm2d(channels)
        self.down = nn.Conv2d(channels, channels, (span, 1), padding=(span // 2, 0), groups=channels, bias=False)
        self.down_norm = nn.BatchNorm2d(channels)
        self.sigmoid = nn.Sigmoid()
        self.enlarge = nn.Upsample(size=size, mode="nearest")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        gate_NCHW = self.mix_norm(self.mix(self.shrink(x_NCHW)))
        gate_NCHW = self.down_norm(self.down(self.across_norm(self.across(gate_NCHW))))
        y_NCHW: Tensor = self.ghost(x_NCHW) * self.enlarge(self.sigmoid(gate_NCHW))
        return y_NCHW


def insert(module: fx.GraphModule, name: str, new: nn.Module, *, start: fx.Node, end: fx.Node) -> fx.Node:
    """Puts `new` in the place of all from the call of the layer `name`, `start`, to `end`; its parts become calls of their own.

    Returns the node of its output. What was in the place before is removed with `tidied`.
    """
    (source,) = start.all_input_nodes
    inner = fx.symbolic_trace(new)
    replaced(module, name, new)
    made: dict[fx.Node, fx.Node] = {}
    with module.graph.inserting_before(end):
        for node in inner.graph.nodes:
            if node.op == "placeholder":
                made[node] = source
            elif node.op == "output":
                (last,) = node.all_input_nodes
            else:
                made[node] = module.graph.node_copy(node, lambda given: made[given])
                if node.op == "call_module":
                    made[node].target = f"{name}.{node.target}"
    end.replace_all_uses_with(made[last])
    # From the end back to the start: each was read by the next alone.
    node = end
    while node is not start:
        before = node.all_input_nodes[0]
        module.graph.erase_node(node)
        node = before
    module.graph.erase_node(start)
    return made[last]
