"""The number format of weights and activations."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    INT8 = "int8"
    FP32 = "fp32"

    @property
    def element_bytes(self) -> int:
        """Bytes of one weight or activation."""
        return 1 if self is Precision.INT8 else 4
