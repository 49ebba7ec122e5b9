"""The shape of a supernet: stem, blocks of bricks, head. Pure data, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from edgekit.core.errors import BadInputError
from edgekit.supernet.genotype import Genotype


class BlockKind(StrEnum):
    FUSED = "fused"
    INVERTED = "inverted"


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """A block of `bricks` equal slices of its hidden channels.

    fused: convolution k x k -> ReLU -> projection 1 x 1.
    inverted: expansion 1 x 1 -> ReLU -> depthwise k x k -> ReLU -> projection 1 x 1.
    The stride is that of the k x k convolution. A block that keeps its shape has a shortcut, and all its bricks may close.
    """

    kind: BlockKind
    in_channels: int
    out_channels: int
    hidden_channels: int
    kernel: int
    stride: int
    bricks: int

    def __post_init__(self) -> None:
        _check_whole_numbers(self)
        if self.hidden_channels % self.bricks:
            raise BadInputError(
                f"a block of {self.hidden_channels} hidden channels cannot be cut into {self.bricks} equal bricks",
                hint="make hidden_channels a multiple of bricks",
            )

    @property
    def keeps_shape(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def brick_channels(self) -> int:
        return self.hidden_channels // self.bricks

    @property
    def fewest_bricks(self) -> int:
        return 0 if self.keeps_shape else 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetSpec:
    """`image_size` x `image_size` RGB in [0, 1] -> stem 3 x 3 stride 2 -> blocks -> global mean -> `labels` logits."""

    image_size: int
    stem_channels: int
    blocks: tuple[BlockSpec, ...]
    labels: int

    def __post_init__(self) -> None:
        _check_whole_numbers(self)
        if not self.blocks:
            raise BadInputError("a supernet without blocks", hint="list at least one block")
        channels = self.stem_channels
        for index, block in enumerate(self.blocks):
            if block.in_channels != channels:
                raise BadInputError(
                    f"block {index} takes {block.in_channels} channels, but {channels} arrive",
                    hint="make in_channels of each block the out_channels of the one before",
                )
            channels = block.out_channels

    @property
    def features(self) -> int:
        return self.blocks[-1].out_channels

    @property
    def full(self) -> Genotype:
        return Genotype.prefix([block.bricks for block in self.blocks])

    @property
    def smallest(self) -> Genotype:
        return Genotype.prefix([block.fewest_bricks for block in self.blocks])

    def check(self, genotype: Genotype) -> Genotype:
        """Returns the genotype, or raises BadInputError where it does not describe a subnet of this supernet."""
        if len(genotype.masks) != len(self.blocks):
            raise BadInputError(
                f"genotype {genotype} has {len(genotype.masks)} blocks, the supernet {len(self.blocks)}",
                hint="take a genotype made for this supernet",
            )
        for index, (block, mask) in enumerate(zip(self.blocks, genotype.masks, strict=True)):
            if mask >> block.bricks or mask.bit_count() < block.fewest_bricks:
                raise BadInputError(
                    f"genotype {genotype}: block {index} has {block.bricks} bricks and needs at least {block.fewest_bricks}",
                    hint="take a genotype made for this supernet",
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
                image_size=record["image_size"],
                stem_channels=record["stem_channels"],
                blocks=tuple(BlockSpec(**{**block, "kind": BlockKind(block["kind"])}) for block in blocks),
                labels=labels,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(
                f"not a description of a supernet: {error}", hint="see models/signs43/recipe.toml"
            ) from error


def _check_whole_numbers(spec: BlockSpec | SupernetSpec) -> None:
    for name in (field.name for field in fields(spec) if field.type == "int"):
        value = getattr(spec, name)
        if not isinstance(value, int) or value < 1:
            raise BadInputError(
                f"{name} = {value!r} is not a whole number from 1", hint="see models/signs43/recipe.toml"
            )
