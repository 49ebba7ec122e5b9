"""The dense module sliced out of a supernet: plain convolutions, no gates, normalisation folded in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.supernet.blocks import Block
from edgekit.supernet.convolution import same_padding
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import BlockKind
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task


class SubnetBlock(nn.Module):
    """`x_NCHW` -> the sum of its branches, plus x where there is a shortcut."""

    def __init__(self, branches: list[nn.Sequential], *, shortcut: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.shortcut = shortcut

    def forward(self, x_NCHW: Tensor) -> Tensor:
        # One by one, the shortcut first: the fewest tensors wait for each other.
        terms = (branch(x_NCHW) for branch in self.branches)
        total_NCHW: Tensor = x_NCHW if self.shortcut else next(terms)
        for y_NCHW in terms:
            total_NCHW = total_NCHW + y_NCHW
        return total_NCHW


class WithCheapFeatures(nn.Module):
    """`x_NCHW` -> x, then the features made of it (ghost bricks)."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.cat([x_NCHW, self.layers(x_NCHW)], 1)


class Subnet(nn.Module):
    """`x_NCHW` float32 in [0, 1] -> probabilities `p_NK` of the task's outputs."""

    def __init__(self, trunk: nn.Sequential, head: nn.Linear, grouping: nn.Linear | None) -> None:
        super().__init__()
        self.trunk, self.head, self.grouping = trunk, head, grouping

    def logits(self, x_NCHW: Tensor) -> Tensor:
        """`z_NR` of the head's rows: the task's labels, or the whole vocabulary where an output sums those left out."""
        z_NR: Tensor = self.head(self.trunk(x_NCHW).mean((2, 3)))
        return z_NR

    def forward(self, x_NCHW: Tensor) -> Tensor:
        p_NR = self.logits(x_NCHW).softmax(1)
        return p_NR if self.grouping is None else self.grouping(p_NR)


@torch.no_grad()
def slice_subnet(supernet: Supernet, genotype: Genotype, task: Task) -> Subnet:
    """The subnet of a genotype with the head that a task needs, in eval mode and independent of the supernet's memory."""
    spec = supernet.spec
    spec.check(genotype)
    size = spec.genes(genotype)[0]
    stem = _convolution(supernet.w_stem, *supernet.norm_stem.affine(slice(None), size), stride=2)
    layers: list[nn.Module] = [*stem, nn.ReLU()]
    for position in spec.positions:
        branches = [
            _branch(supernet.blocks[index], genotype.open_bricks(index), size)
            for index in position
            if genotype.masks[index]
        ]
        if branches:
            layers.append(SubnetBlock(branches, shortcut=spec.blocks[position[0]].has_shortcut))
    head, grouping = supernet.head, None
    rows = list(task.head_rows(spec.labels))
    sliced_head = nn.Linear(head.in_features, len(rows))
    sliced_head.weight.copy_(head.weight[rows])
    sliced_head.bias.copy_(head.bias[rows])
    if task.sums is not None:
        matrix = torch.from_numpy(task.grouping(spec.labels))[:, rows]
        grouping = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
        grouping.weight.copy_(matrix)
    return Subnet(nn.Sequential(*layers), sliced_head, grouping).eval().requires_grad_(False)


def task_probabilities(z_NL: Tensor, task: Task) -> Tensor:
    """`p_NK` of a task's outputs from logits over the whole vocabulary: the definition that a subnet's head must equal."""
    rows = list(task.head_rows(z_NL.shape[1]))
    p_NR = z_NL[:, rows].softmax(1)
    if task.sums is None:
        return p_NR
    return p_NR @ torch.from_numpy(task.grouping(z_NL.shape[1]))[:, rows].T.to(z_NL.device)


def _branch(block: nn.Module, bricks: tuple[int, ...], size: int) -> nn.Sequential:
    assert isinstance(block, Block)  # noqa: S101
    spec = block.spec
    filters, channels = block.filters_of(bricks), block.channels_of(bricks)
    w_first = block.w_first[filters]
    layers = [
        *_convolution(w_first, *block.norm_first.affine(filters, size), stride=spec.first.stride),
        nn.ReLU(),
    ]
    if spec.depthwise is not None:
        weights = block.w_depthwise[filters], *block.norm_depthwise.affine(filters, size)
        if spec.kind is BlockKind.REPGHOST:
            weights = _merged(*weights, *block.norm_identity.affine(filters, size), stride=spec.depthwise.stride)
        depthwise = [*_convolution(*weights, stride=spec.depthwise.stride, groups=len(w_first)), nn.ReLU()]
        layers += [WithCheapFeatures(depthwise)] if spec.kind is BlockKind.GHOST else depthwise
    scale, shift = block.norm_project.affine(len(bricks), size)
    w_project = block.w_project[:, channels].double()
    if block.attention is not None:
        layers.append(block.attention.sliced(channels))
        w_project = w_project / block.attention.excess
    return nn.Sequential(*layers, *_convolution(w_project, scale, shift))


def _merged(
    w_O1HW: Tensor, scale_O: Tensor, shift_O: Tensor, scale_identity_O: Tensor, shift_identity_O: Tensor, *, stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(weights, scale, shift) of one depthwise convolution that is the sum of the normalised one and of the normalised
    identity, after RepGhost (arXiv 2211.06088): the identity is a single tap, where an output's own position is read."""
    w_O1HW = w_O1HW.double() * scale_O[:, None, None, None]
    tap, *_ = same_padding(w_O1HW.shape[-1], stride)
    w_O1HW[:, 0, tap, tap] += scale_identity_O
    return w_O1HW, torch.ones_like(scale_O), shift_O + shift_identity_O


def _convolution(
    w_OIHW: Tensor, scale_O: Tensor, shift_O: Tensor, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution with its normalisation's affine map folded in, in float64; before it, padding that is not symmetric."""
    out_channels, in_channels, kernel, _ = w_OIHW.shape
    left, right, *_ = padding = same_padding(kernel, stride)
    symmetric = left == right
    convolution = nn.Conv2d(in_channels * groups, out_channels, kernel, stride, left if symmetric else 0, groups=groups)
    convolution.weight.copy_(w_OIHW.double() * scale_O[:, None, None, None])
    assert convolution.bias is not None  # noqa: S101
    convolution.bias.copy_(shift_O)
    return [convolution] if symmetric else [nn.ZeroPad2d(padding), convolution]
