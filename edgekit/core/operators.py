"""The operators a network executes: the common language of supernets, cost models and exported files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
