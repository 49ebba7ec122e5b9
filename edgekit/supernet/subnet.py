"""The dense module sliced out of a supernet: plain convolutions, no gates, normalisation folded in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.supernet.blocks import Block, same_padding
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import BlockKind
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task


class SubnetBlock(nn.Module):
    """`x_NCHW` -> layers(x), plus x where the block keeps its shape."""

    def __init__(self, layers: list[nn.Module], *, shortcut: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = shortcut

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = self.layers(x_NCHW)
        return x_NCHW + y_NCHW if self.shortcut else y_NCHW


class Subnet(nn.Module):
    """`x_NCHW` float32 in [0, 1] -> probabilities `p_NK` of the task's outputs."""

    def __init__(self, trunk: nn.Sequential, head: nn.Linear, grouping: nn.Linear | None) -> None:
        super().__init__()
        self.trunk, self.head, self.grouping = trunk, head, grouping

    def logits(self, x_NCHW: Tensor) -> Tensor:
        """`z_NR` of the head's rows: the task's labels, or the whole vocabulary where outputs are grouped."""
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
    stem = _convolution(supernet.w_stem, *supernet.norm_stem.affine(supernet.stem_channels), stride=2)
    layers: list[nn.Module] = [*stem, nn.ReLU()]
    for index, block in enumerate(supernet.blocks):
        assert isinstance(block, Block)  # noqa: S101
        bricks = genotype.open_bricks(index)
        if bricks:
            layers.append(_sliced(block, bricks))
    head, grouping = supernet.head, None
    rows = torch.arange(spec.labels) if task.needs_all_labels else torch.tensor(task.indices)
    sliced_head = nn.Linear(head.in_features, len(rows))
    sliced_head.weight.copy_(head.weight[rows])
    sliced_head.bias.copy_(head.bias[rows])
    if task.needs_all_labels:
        matrix = torch.from_numpy(task.grouping(spec.labels))
        grouping = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
        grouping.weight.copy_(matrix)
    return Subnet(nn.Sequential(*layers), sliced_head, grouping).eval().requires_grad_(False)


def task_probabilities(z_NL: Tensor, task: Task) -> Tensor:
    """`p_NK` of a task's outputs from logits over the whole vocabulary: the definition that a subnet's head must equal."""
    if not task.needs_all_labels:
        return z_NL[:, list(task.indices)].softmax(1)
    return z_NL.softmax(1) @ torch.from_numpy(task.grouping(z_NL.shape[1])).T.to(z_NL.device)


def _sliced(block: Block, bricks: tuple[int, ...]) -> SubnetBlock:
    spec = block.spec
    chosen = block.channels_of(bricks)
    first = block.norm_first.affine(chosen)
    if spec.kind is BlockKind.FUSED:
        layers = [*_convolution(block.w_first[chosen], *first, stride=spec.stride), nn.ReLU()]
    else:
        depthwise = block.norm_depthwise.affine(chosen)
        layers = [
            *_convolution(block.w_first[chosen], *first),
            nn.ReLU(),
            *_convolution(block.w_depthwise[chosen], *depthwise, stride=spec.stride, groups=len(chosen)),
            nn.ReLU(),
        ]
    layers += _convolution(block.w_project[:, chosen], *block.norm_project.affine(len(bricks)))
    return SubnetBlock(layers, shortcut=spec.keeps_shape)


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
