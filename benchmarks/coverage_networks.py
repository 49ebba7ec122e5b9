"""Networks for `coverage.py`: each has one thing in it whose execution is asked for, between parts that every row has.

The parts alone are the baseline of a group. Weights are random, from a seed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.core.model import Model, Preprocessing
from edgekit.devices.target import Target
from edgekit.networks.description import describe as describe_layers
from edgekit.networks.exported import exported
from edgekit.networks.lifting import lifted
from edgekit.passes.contract import Context, Samples
from edgekit.passes.registry import make_pass, pass_ids
from edgekit.supernet.description import describe as describe_bricks
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import Attention, BlockKind, BlockSpec, SupernetSpec
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task

SIZE, CHANNELS, CLASSES = 16, 16, 8
SHAPE = (3, SIZE, SIZE)

Make = Callable[[Target], Model]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Rows of one kind by name; `baseline` is their network without what they are about."""

    name: str
    baseline: Make
    rows: Mapping[str, Make]


def groups() -> tuple[Group, ...]:
    return (
        Group(name="Bricks", baseline=lambda _: _with_block(None), rows=_bricks()),
        Group(name="Passes", baseline=lambda _: _residual(), rows={name: _passed(name) for name in pass_ids()}),
        Group(
            name="Layers",
            baseline=lambda _: _foreign(nn.Identity()),
            rows={name: lambda _, make=make: _foreign(make()) for name, make in _LAYERS.items()},
        ),
    )


def _bricks() -> dict[str, Make]:
    cases = {str(kind): (kind, Attention.NONE) for kind in BlockKind}
    cases |= {f"fused, {one}": (BlockKind.FUSED, one) for one in Attention if one is not Attention.NONE}
    cases |= {f"inverted, {one}": (BlockKind.INVERTED, one) for one in Attention if one is not Attention.NONE}
    return {name: lambda _, case=case: _with_block(case) for name, case in cases.items()}


def _with_block(case: tuple[BlockKind, Attention] | None) -> Model:
    """Stem, the block with a shortcut, a fused block without one, head; two of four bricks open in each block."""
    common = {"in_channels": CHANNELS, "out_channels": CHANNELS, "hidden_channels": 64, "kernel": 3, "bricks": 4}
    last = BlockSpec(kind=BlockKind.FUSED, stride=2, **common)
    blocks = (last,) if case is None else (BlockSpec(kind=case[0], attention=case[1], stride=1, **common), last)
    spec = SupernetSpec(image_sizes=(SIZE,), stem_channels=CHANNELS, blocks=blocks, labels=CLASSES)
    torch.manual_seed(0)
    supernet = Supernet(spec).eval()
    supernet.head.weight.data *= 10  # so that probabilities tell inputs apart
    genotype = Genotype((0b0101,) * len(blocks))
    return Model(
        module=slice_subnet(supernet, genotype, Task(indices=tuple(range(CLASSES)), text="all")),
        input_shape=SHAPE,
        labels=tuple("abcdefgh"),
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
        operators=describe_bricks(spec, genotype, rows=CLASSES, sums=None),
        provenance={"genotype": str(genotype)},
    )


class _Block(nn.Module):
    """Two convolutions 3 x 3, beside the first of them another of 1 x 1, and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.beside = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.two, self.norm_two = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = F.relu(self.norm(self.one(x_NCHW)) + self.beside(x_NCHW))
        return F.relu(x_NCHW + self.norm_two(self.two(y_NCHW)))


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32)
        self.blocks = nn.Sequential(_Block(32), _Block(32))
        self.down, self.head = nn.Conv2d(32, 32, 3, 2, 1), nn.Linear(32, CLASSES)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.blocks(F.relu(self.norm(self.stem(x_NCHW))))
        logits_NK: Tensor = self.head(F.relu(self.down(y_NCHW)).mean((2, 3)))
        return logits_NK


def _residual() -> Model:
    torch.manual_seed(0)
    network = _Residual().train()
    with torch.no_grad():
        for _ in range(20):  # normalisation that has seen inputs
            network(torch.randn(64, *SHAPE))
    return _lifted(network.eval())


# What a pass would spend minutes on says nothing about how its result runs.
_QUICK = {
    "prune::fedtiny": {"density": 0.5, "candidates": 1, "epochs": 1.0, "adjustments": 1},
    "prune::net_trim": {"sparsity": 0.5, "samples": 400, "reweightings": 0},
    "swap::ghost": {"max_residual": 9.0, "sums": False},
    "swap::ghost_v2": {"max_residual": 9.0, "epochs": 0},
    "swap::repghost": {"max_residual": 9.0},
    "train::distil": {"epochs": 1.0},
}


def _passed(pass_id: str) -> Make:
    def make(target: Target) -> Model:
        model = _residual()
        x_N = torch.randn(256, *SHAPE, generator=torch.Generator().manual_seed(1))
        samples = Samples(x_N=x_N, y_N=model.module(x_N).argmax(1))
        context = Context(
            original=model,
            target=target,
            latency_ms=lambda operators: math.fsum(operator.macs for operator in operators),
            calibration=samples,
            judging=samples,
            training=samples,
        )
        return make_pass(pass_id, _QUICK.get(pass_id, {}))(copy.deepcopy(model), context).model

    return make


class _Call(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x_N: Tensor) -> Tensor:
        return self.function(x_N)


class _Joined(nn.Module):
    """A function of the activations and of a convolution of them."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.other = function, nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.function(x_NCHW, self.other(x_NCHW))


def _split(x_NCHW: Tensor) -> Tensor:
    one_NCHW, other_NCHW = x_NCHW.chunk(2, 1)
    return torch.cat([other_NCHW, one_NCHW], 1)


def _scores(x_NCHW: Tensor, y_NCHW: Tensor) -> Tensor:
    """Of all positions with all channels: the product of two activations, as attention has it."""
    return torch.matmul(x_NCHW.flatten(2).transpose(1, 2), y_NCHW.flatten(2))


def _tokens(layer: nn.Module) -> nn.Module:
    """On channels as the last of three axes."""
    return nn.Sequential(_Call(lambda x_NCHW: x_NCHW.flatten(2).transpose(1, 2)), layer)


_LAYERS: Mapping[str, Callable[[], nn.Module]] = {
    "convolution 3 x 3": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
    "convolution 1 x 1": lambda: nn.Conv2d(CHANNELS, CHANNELS, 1),
    "convolution, stride 2": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1),
    "convolution, dilation 2": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=2, dilation=2),
    "depthwise convolution": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS),
    "depthwise, multiplier 2": lambda: nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, padding=1, groups=CHANNELS),
    "grouped convolution": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=4),
    "transposed convolution": lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, 2),
    "convolution of one dimension": lambda: nn.Sequential(
        _Call(lambda x_NCHW: x_NCHW.flatten(2)), nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
    ),
    "dense": lambda: nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(CHANNELS * 16, 32)),
    "dense on three axes": lambda: _tokens(nn.Linear(CHANNELS, 32)),
    "batch norm, not folded": lambda: nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(CHANNELS)),
    "layer norm": lambda: _tokens(nn.LayerNorm(CHANNELS)),
    "group norm": lambda: nn.GroupNorm(4, CHANNELS),
    "relu": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.ReLU()),
    "relu6": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.ReLU6()),
    "leaky relu": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.LeakyReLU(0.1)),
    "prelu": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.PReLU(CHANNELS)),
    "hard swish": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Hardswish()),
    "hard sigmoid": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Hardsigmoid()),
    "sigmoid": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Sigmoid()),
    "tanh": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Tanh()),
    "silu": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.SiLU()),
    "gelu": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.GELU()),
    "add": lambda: _Joined(torch.add),
    "multiply": lambda: _Joined(torch.mul),
    "concatenation": lambda: _Joined(lambda x_NCHW, y_NCHW: torch.cat([x_NCHW, y_NCHW], 1)),
    "split": lambda: _Call(_split),
    "average pool": lambda: nn.AvgPool2d(2),
    "max pool": lambda: nn.MaxPool2d(2),
    "max pool 3 x 3, padded": lambda: nn.MaxPool2d(3, 2, 1),
    "global average pool": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "mean": lambda: _Call(lambda x_NCHW: x_NCHW.mean((2, 3), keepdim=True)),
    "softmax": lambda: nn.Softmax(1),
    "pad": lambda: _Call(lambda x_NCHW: F.pad(x_NCHW, (0, 0, 0, 0, 4, 4))),
    "reflection pad": lambda: nn.ReflectionPad2d(1),
    "slice": lambda: _Call(lambda x_NCHW: x_NCHW[:, :, ::2, 1:]),
    "upsample, nearest": lambda: nn.Upsample(scale_factor=2, mode="nearest"),
    "resize, bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "pixel shuffle": lambda: nn.PixelShuffle(2),
    "channel shuffle": lambda: nn.ChannelShuffle(4),
    "reshape": lambda: _Call(lambda x_NCHW: x_NCHW.reshape(len(x_NCHW), CHANNELS, -1, 32)),
    "permute": lambda: _Call(lambda x_NCHW: x_NCHW.permute(0, 1, 3, 2)),
    "product of two activations": lambda: _Joined(_scores),
    "squeeze and excitation, sigmoid": lambda: _Gated(),
}


class _Gated(nn.Module):
    """As in MobileNetV3 and EfficientNet."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(CHANNELS, 8, 1), nn.ReLU(), nn.Conv2d(8, CHANNELS, 1), nn.Sigmoid()
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = x_NCHW * self.gate(x_NCHW)
        return y_NCHW


def _foreign(layer: nn.Module) -> Model:
    """A convolution, the layer, and a convolution or dense layer of what it gives."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), layer)
    with torch.no_grad():
        y_N = network.eval()(torch.zeros(2, *SHAPE))
    dense = [nn.Flatten(), nn.Linear(y_N[0].numel(), 8)]
    return _lifted(nn.Sequential(*network, *([nn.Conv2d(y_N.shape[1], 8, 1)] if y_N.ndim == 4 else dense)).eval())


def _lifted(network: nn.Module) -> Model:
    module = lifted(exported(network, SHAPE))
    return Model(
        module=module,
        input_shape=SHAPE,
        labels=(),
        preprocessing=None,
        operators=describe_layers(module, SHAPE).operators,
        output_range=None,
    )
