"""Size of an exported .tflite file, additive over operators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgekit.core.operators import Operator
from edgekit.devices.precision import Precision

_BIAS_BYTES = 4
_QUANTISED_CHANNEL_BYTES = 2 * (4 + 8)
"""Per output channel of an int8 filter: scale (float32) and zero point (int64) of the weights, and again of the bias."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Overhead:
    """Bytes of the file that are no parameters: operator and tensor records with their names, and the fixed part."""

    fixed: int
    filter: int
    strided_filter: int
    other: int


_OVERHEAD: Final = {
    Precision.FP32: _Overhead(fixed=0, filter=0, strided_filter=0, other=0),
    Precision.INT8: _Overhead(fixed=0, filter=0, strided_filter=0, other=0),
}
"""Measured by benchmarks/tflite_file_size.py."""


def parameter_bytes(operator: Operator, precision: Precision) -> int:
    """Bytes of the weights, biases and quantisation parameters of one operator."""
    channel_bytes = _QUANTISED_CHANNEL_BYTES if precision is Precision.INT8 and operator.weights else 0
    return operator.weights * precision.element_bytes + operator.biases * _BIAS_BYTES + operator.channels * channel_bytes


def operator_size_bytes(operator: Operator, precision: Precision) -> int:
    """What one operator adds to the file."""
    overhead = _OVERHEAD[precision]
    if not operator.weights:
        record_bytes = overhead.other
    else:
        record_bytes = overhead.filter if operator.stride == 1 else overhead.strided_filter
    return parameter_bytes(operator, precision) + record_bytes


def fixed_size_bytes(precision: Precision) -> int:
    """What any file holds, whatever the network."""
    return _OVERHEAD[precision].fixed


def file_size_bytes(operators: Iterable[Operator], precision: Precision) -> int:
    """Predicted size of the .tflite file without packed metadata (labels, preprocessing)."""
    return fixed_size_bytes(precision) + sum(operator_size_bytes(operator, precision) for operator in operators)
