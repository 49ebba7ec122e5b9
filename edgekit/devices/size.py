"""Size of an exported file, additive over operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from edgekit.core.operators import Operator
from edgekit.devices.precision import Precision
from edgekit.devices.runtimes import REFERENCE

_BIAS_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class _Format:
    """Bytes of a file that are no weights and biases: a fixed part with the metadata, the records of each filter, and what an int8
    filter has for each output channel and again for each bias.

    Operators without weights add nothing that could be told from the spread of labels and metadata.
    """

    fixed: int
    filter: int
    channel: int = 0
    bias: int = 0


_TFLITE: Final = {
    # A scale (float32) and a zero point (int64) each.
    Precision.INT8: _Format(fixed=3452, filter=393, channel=4 + 8, bias=4 + 8),
    Precision.FP32: _Format(fixed=3297, filter=317),
}
_FORMATS: Final[Mapping[str, Mapping[Precision, _Format]]] = {
    REFERENCE: _TFLITE,
    "onnx": {
        # A scale (float32) and a zero point (int8); biases are float32.
        Precision.INT8: _Format(fixed=989, filter=474, channel=4 + 1),
        Precision.FP32: _Format(fixed=1305, filter=195),
    },
    "tvm": {
        # A filter is a function of machine code, here of a Cortex-A72's, in half precision of a Cortex-A76's.
        Precision.INT8: _Format(fixed=20821, filter=16266),
        Precision.FP32: _Format(fixed=0, filter=9963),
        Precision.FP16: _Format(fixed=74711, filter=5081),
    },
}
"""Measured by benchmarks/file_size.py; other runtimes are taken for TFLite until the file itself is there."""


def _format(precision: Precision, runtime: str) -> _Format:
    """In half precision, where nothing was measured, that of float32."""
    formats = _FORMATS.get(runtime, _TFLITE)
    return formats.get(precision, formats[Precision.FP32])


def parameter_bytes(operator: Operator, precision: Precision, runtime: str = REFERENCE) -> int:
    """Bytes of the weights, biases and quantisation parameters of one operator."""
    parameters = operator.weights * precision.element_bytes + operator.biases * _BIAS_BYTES
    if operator.weights:
        of_format = _format(precision, runtime)
        parameters += operator.channels * of_format.channel + operator.biases * of_format.bias
    return parameters


def operator_size_bytes(operator: Operator, precision: Precision, runtime: str = REFERENCE) -> int:
    """What one operator adds to the file."""
    filter_bytes = _format(precision, runtime).filter if operator.weights else 0
    return parameter_bytes(operator, precision, runtime) + filter_bytes


def fixed_size_bytes(precision: Precision, runtime: str = REFERENCE) -> int:
    """What any file holds, whatever the network."""
    return _format(precision, runtime).fixed


def file_size_bytes(operators: Iterable[Operator], precision: Precision, runtime: str = REFERENCE) -> int:
    """Predicted size of the file that `edgekit.exporters` writes for a runtime."""
    sizes = (operator_size_bytes(operator, precision, runtime) for operator in operators)
    return fixed_size_bytes(precision, runtime) + sum(sizes)
