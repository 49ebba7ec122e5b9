"""The operators a network executes: the common language of supernets, cost models and exported files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class OperatorKind(StrEnum):
    CONV = "conv"
    DEPTHWISE = "depthwise"
    DENSE = "dense"
    ADD = "add"
    POOL = "pool"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """An activation of batch 1: its name within the network and its number of elements."""

    name: str
    elements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """One executed operator, normalisation and activation already fused into it.

    `macs` counts multiply-accumulates at batch 1, `weights` and `biases` count elements, `channels` are output channels.
    Operators of a network are listed in execution order; a tensor is read only after the operator that writes it.
    """

    name: str
    kind: OperatorKind
    inputs: tuple[Tensor, ...]
    output: Tensor
    macs: int = 0
    weights: int = 0
    biases: int = 0
    channels: int = 0
    kernel: int = 1
    stride: int = 1

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Operator:
        """Of what `dataclasses.asdict` made of one. Raises KeyError, TypeError or ValueError."""
        facts = dict(record)
        inputs = tuple(Tensor(**tensor) for tensor in facts.pop("inputs"))
        output, kind = Tensor(**facts.pop("output")), OperatorKind(facts.pop("kind"))
        return cls(kind=kind, inputs=inputs, output=output, **facts)
