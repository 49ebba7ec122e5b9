"""The plain network of a supernet's shape: hidden channels of any number, no bricks, no gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task


def dense_spec(spec: SupernetSpec, hidden: Sequence[int], *, image_size: int, outputs: int) -> SupernetSpec:
    """Block b has `hidden[b]` hidden channels, as one brick; blocks of none are gone."""
    blocks = []
    for position in spec.positions:
        kept = [index for index in position if hidden[index]]
        blocks += [
            replace(spec.blocks[index], hidden_channels=hidden[index], bricks=1, beside=index != kept[0])
            for index in kept
        ]
    return replace(spec, image_sizes=(image_size,), blocks=tuple(blocks), labels=outputs)


def hidden_of(spec: SupernetSpec, genotype: Genotype) -> list[int]:
    """Hidden channels that a genotype opens in each block."""
    return [count * block.brick_channels for block, count in zip(spec.blocks, genotype.counts, strict=True)]


def macs_of(spec: SupernetSpec) -> int:
    """Of the whole network, with a head of all its labels."""
    return sum(operator.macs for operator in describe(spec, spec.full, rows=spec.labels, sums=None))


def all_of(spec: SupernetSpec) -> Task:
    """What a network trained for its own labels alone is asked: all of them."""
    return Task(indices=tuple(range(spec.labels)), text="all labels")
