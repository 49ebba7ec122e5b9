"""The shape of a supernet: stem, blocks of bricks, head. Pure data, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

from edgekit.core.errors import BadInputError
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.ports import Layout, Part, Port, ValueRange, check_joined, check_summed

ECA_KERNEL: Final = 3
"""Channels that the gate of ECA looks at; what the paper's rule gives for 8 to 127 of them (arXiv 1910.03151)."""


class BlockKind(StrEnum):
    FUSED = "fused"
    INVERTED = "inverted"
    GHOST = "ghost"
    REPGHOST = "repghost"


class Attention(StrEnum):
    NONE = "none"
    ECA = "eca"
    SE = "se"


class Window(NamedTuple):
    """Edge and stride of a square convolution."""

    kernel: int
    stride: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """A block of `bricks` equal slices of its hidden channels.

    fused: convolution k x k -> ReLU -> projection 1 x 1.
    inverted: expansion 1 x 1 -> ReLU -> depthwise k x k -> ReLU -> projection 1 x 1 (arXiv 1801.04381).
    ghost: convolution k x k -> ReLU makes half of a brick's hidden channels, depthwise 3 x 3 -> ReLU on these the other half
    -> projection 1 x 1 of both (arXiv 1911.11907).
    repghost: as inverted, and in training a second branch around the depthwise convolution (arXiv 2211.06088).
    The stride is that of the k x k convolution; `attention` weighs the hidden channels before the projection.

    A block of stride 1 with as many channels out as in has a shortcut, and all its bricks may close. A block `beside` the one
    before it reads the same input, and its output is added to that one's; it has no shortcut, and all its bricks may close.
    """

    kind: BlockKind
    in_channels: int
    out_channels: int
    hidden_channels: int
    kernel: int
    stride: int
    bricks: int
    attention: Attention = Attention.NONE
    beside: bool = False

    def __post_init__(self) -> None:
        _check_whole_numbers(self)
        if not isinstance(self.beside, bool):
            raise BadInputError(f"beside = {self.beside!r} must be true or false", hint="see docs/bricks.md")
        if self.kernel < self.stride:
            raise BadInputError(
                f"a convolution of {self.kernel} x {self.kernel} with stride {self.stride} skips positions",
                hint="make kernel at least the stride",
            )
        if self.hidden_channels % self.bricks:
            raise BadInputError(
                f"a block of {self.hidden_channels} hidden channels cannot be cut into {self.bricks} equal bricks",
                hint="make hidden_channels a multiple of bricks",
            )
        if self.kind is BlockKind.GHOST and self.brick_channels % 2:
            raise BadInputError(
                f"a ghost brick of {self.brick_channels} hidden channels cannot be cut into two halves",
                hint="make hidden_channels an even multiple of bricks",
            )

    @property
    def has_shortcut(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels and not self.beside

    @property
    def fewest_bricks(self) -> int:
        return 0 if self.has_shortcut or self.beside else 1

    @property
    def brick_channels(self) -> int:
        return self.hidden_channels // self.bricks

    @property
    def brick_filters(self) -> int:
        """What the first convolution makes of a brick's hidden channels."""
        return self.brick_channels // 2 if self.kind is BlockKind.GHOST else self.brick_channels

    @property
    def first(self) -> Window:
        spatial = self.kind in (BlockKind.FUSED, BlockKind.GHOST)
        return Window(self.kernel, self.stride) if spatial else Window(1, 1)

    @property
    def depthwise(self) -> Window | None:
        if self.kind is BlockKind.FUSED:
            return None
        return Window(3, 1) if self.kind is BlockKind.GHOST else Window(self.kernel, self.stride)

    @property
    def squeezed_channels(self) -> int:
        """Inner width of SE, the same for every subnet."""
        return max(8, self.in_channels // 4)

    def part(self, index: int, stride: int) -> Part:
        """The block with its ports, at a position that reads at this stride of the image."""
        takes = Port(layout=Layout.NCHW, channels=self.in_channels, values=ValueRange.REAL, stride=stride)
        gives = replace(takes, channels=self.out_channels, stride=stride * self.stride)
        return Part(name=f"block {index} ({self.kind})", takes=takes, gives=gives)


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetSpec:
    """Square RGB in [0, 1] -> stem 3 x 3 stride 2 -> blocks -> global mean -> `labels` logits.

    `image_sizes` lists the edges that its subnets may take, rising. A genotype's *genes* are whole numbers from 0: the index
    of its image size, then the number of open bricks of every block; each gene more makes a larger network.
    """

    image_sizes: tuple[int, ...]
    stem_channels: int
    blocks: tuple[BlockSpec, ...]
    labels: int

    def __post_init__(self) -> None:
        _check_whole_numbers(self)
        if not self.blocks:
            raise BadInputError("the supernet has no blocks", hint="list at least one block")
        self._check_ports()
        stride = 2 * math.prod(self.blocks[first].stride for first, *_ in self.positions)
        fits = all(isinstance(size, int) and size > 0 and size % stride == 0 for size in self.image_sizes)
        if not (fits and self.image_sizes and list(self.image_sizes) == sorted(set(self.image_sizes))):
            raise BadInputError(
                f"image_sizes = {list(self.image_sizes)} must be rising multiples of {stride}, the product of all strides",
                hint="give the edge of each size in pixels, the smallest first",
            )

    def _check_ports(self) -> None:
        image = Port(layout=Layout.NCHW, channels=3, values=ValueRange.UNIT, stride=1)
        stem = replace(image, channels=self.stem_channels, values=ValueRange.NONNEGATIVE, stride=2)
        read = last = Part(name="the stem", takes=image, gives=stem)
        for index, block in enumerate(self.blocks):
            if not block.beside:
                read = last
            elif index == 0:
                raise BadInputError(
                    f"block 0 ({block.kind}) cannot stand beside a block before it: it is the first",
                    hint="leave out its `beside`",
                )
            part = block.part(index, read.gives.stride)
            check_joined(read, part)
            if block.beside:
                check_summed(last, part)
            else:
                last = part
        features = replace(last.gives, channels=self.features, values=ValueRange.REAL)
        logits = Port(layout=Layout.NK, channels=self.labels, values=ValueRange.REAL)
        check_joined(last, Part(name="the head", takes=features, gives=logits))

    @property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the blocks that read the same input: one block, then those beside it."""
        firsts = [index for index, block in enumerate(self.blocks) if not block.beside]
        return tuple(tuple(range(first, end)) for first, end in pairwise([*firsts, len(self.blocks)]))

    @property
    def features(self) -> int:
        return self.blocks[-1].out_channels

    @property
    def image_size(self) -> int:
        """The largest, at which the supernet is at its best."""
        return self.image_sizes[-1]

    @property
    def full(self) -> Genotype:
        return self.genotype(self.most_genes)

    @property
    def smallest(self) -> Genotype:
        return self.genotype(self.least_genes)

    @property
    def most_genes(self) -> tuple[int, ...]:
        return (len(self.image_sizes) - 1, *(block.bricks for block in self.blocks))

    @property
    def least_genes(self) -> tuple[int, ...]:
        return (0, *(block.fewest_bricks for block in self.blocks))

    def genotype(self, genes: Sequence[int]) -> Genotype:
        """The genotype of sorted bricks with these genes."""
        size, *counts = genes
        return Genotype.prefix(counts, None if size == len(self.image_sizes) - 1 else self.image_sizes[size])

    def genes(self, genotype: Genotype) -> tuple[int, ...]:
        return (self.image_sizes.index(self.image_size_of(genotype)), *genotype.counts)

    def image_size_of(self, genotype: Genotype) -> int:
        return self.image_size if genotype.image_size is None else genotype.image_size

    def check(self, genotype: Genotype) -> Genotype:
        """Returns the genotype, or raises BadInputError where it does not describe a subnet of this supernet."""
        if genotype.image_size is not None and genotype.image_size not in self.image_sizes[:-1]:
            smaller = ", ".join(f"@{size}" for size in self.image_sizes[:-1])
            raise BadInputError(
                f"genotype {genotype}: the supernet does not have this image size beside its own, {self.image_size}",
                hint=f"write {smaller or 'no size'}, or nothing for {self.image_size}",
            )
        if len(genotype.masks) != len(self.blocks):
            raise BadInputError(
                f"genotype {genotype} has {len(genotype.masks)} blocks, the supernet {len(self.blocks)}",
                hint="use a genotype that was made for this supernet",
            )
        for index, (block, mask) in enumerate(zip(self.blocks, genotype.masks, strict=True)):
            if mask >> block.bricks or mask.bit_count() < block.fewest_bricks:
                raise BadInputError(
                    f"genotype {genotype}: block {index} has {block.bricks} bricks and needs at least {block.fewest_bricks}",
                    hint="use a genotype that was made for this supernet",
                )
        return genotype

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any], *, labels: int) -> SupernetSpec:
        """From a card or a recipe. Raises BadInputError for missing or unknown keys."""
        try:
            blocks: Sequence[Mapping[str, Any]] = record["blocks"]
            return cls(
                image_sizes=tuple(record["image_sizes"]),
                stem_channels=record["stem_channels"],
                blocks=tuple(_block(block) for block in blocks),
                labels=labels,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(
                f"not a description of a supernet: {error}", hint="see models/signs43/recipe.toml"
            ) from error


def _block(record: Mapping[str, Any]) -> BlockSpec:
    keys = {"attention": Attention.NONE, **record}
    return BlockSpec(**{**keys, "kind": BlockKind(keys["kind"]), "attention": Attention(keys["attention"])})


def _check_whole_numbers(spec: BlockSpec | SupernetSpec) -> None:
    for name in (field.name for field in fields(spec) if field.type == "int"):
        value = getattr(spec, name)
        if not isinstance(value, int) or value < 1:
            raise BadInputError(
                f"{name} = {value!r} must be a whole number of at least 1", hint="see models/signs43/recipe.toml"
            )
