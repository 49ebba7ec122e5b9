"""Peak memory of the activations."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.operators import Operator, Tensor
from edgekit.devices.precision import Precision

_ALIGNMENT_BYTES = 16


def peak_ram_bytes(operators: Sequence[Operator], precision: Precision) -> int:
    """The most bytes of activations alive at once, each tensor rounded up to 16 bytes as TFLite's arena does.

    A tensor lives from the operator that writes it (the network's inputs: from the first) to the last that reads it,
    both included; what the last operator writes lives to the end. This is the least that any arena needs; weights, the
    runtime's own structures and its scratch buffers come on top.
    """
    lives = _lives(operators)
    return max(
        (
            sum(_arena_bytes(tensor, precision) for tensor, (first, last) in lives.items() if first <= step <= last)
            for step in range(len(operators))
        ),
        default=0,
    )


def _lives(operators: Sequence[Operator]) -> dict[Tensor, tuple[int, int]]:
    """First and last step of each tensor."""
    lives: dict[Tensor, tuple[int, int]] = {}
    for step, operator in enumerate(operators):
        for tensor in operator.inputs:
            first, _ = lives.get(tensor, (0, 0))
            lives[tensor] = (first, step)
        lives[operator.output] = (step, step)
    return lives


def _arena_bytes(tensor: Tensor, precision: Precision) -> int:
    size_bytes = tensor.elements * precision.element_bytes
    return -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
