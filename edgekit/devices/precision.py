"""The number format of weights and activations."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    INT8 = "int8"
    FP32 = "fp32"
    FP16 = "fp16"

    @property
    def element_bytes(self) -> int:
        """Bytes of one weight or activation."""
        return _ELEMENT_BYTES[self]


_ELEMENT_BYTES = {Precision.INT8: 1, Precision.FP32: 4, Precision.FP16: 2}
