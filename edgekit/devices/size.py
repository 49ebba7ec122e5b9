"""Size of an exported .tflite file, additive over operators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgekit.core.operators import Operator
from edgekit.devices.precision import Precision

_BIAS_BYTES = 4
_QUANTISATION_BYTES = 4 + 8
"""Scale (float32) and zero point (int64): an int8 filter has them for each output channel, and again for each bias."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Overhead:
    """Bytes of the file that are no parameters: a fixed part with the metadata, and the records of each filter.

    Operators without weights add nothing that could be told from the spread of labels and metadata.
    """

    fixed: int
    filter: int


_OVERHEAD: Final = {
    Precision.INT8: _Overhead(fixed=3452, filter=393),
    Precision.FP32: _Overhead(fixed=3297, filter=317),
}
"""Measured by benchmarks/tflite_file_size.py."""


def parameter_bytes(operator: Operator, precision: Precision) -> int:
    """Bytes of the weights, biases and quantisation parameters of one operator."""
    parameters = operator.weights * precision.element_bytes + operator.biases * _BIAS_BYTES
    if precision is Precision.INT8 and operator.weights:
        parameters += (operator.channels + operator.biases) * _QUANTISATION_BYTES
    return parameters


def operator_size_bytes(operator: Operator, precision: Precision) -> int:
    """What one operator adds to the file."""
    return parameter_bytes(operator, precision) + (_OVERHEAD[precision].filter if operator.weights else 0)


def fixed_size_bytes(precision: Precision) -> int:
    """What any file holds, whatever the network."""
    return _OVERHEAD[precision].fixed


def file_size_bytes(operators: Iterable[Operator], precision: Precision) -> int:
    """Predicted size of the .tflite file that `edgekit.exporters` writes."""
    return fixed_size_bytes(precision) + sum(operator_size_bytes(operator, precision) for operator in operators)
