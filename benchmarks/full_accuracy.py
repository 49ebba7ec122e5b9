"""The full supernet on its whole vocabulary, in float32 and as an int8 file, for `*_accuracy.py`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from judge import Judge

from edgekit.supernet.genotype import Genotype


@dataclass(frozen=True, kw_only=True, slots=True)
class FullAccuracy:
    """Shares of right answers at one image size, and the bytes of both files."""

    image_size: int
    images: int
    fp32: float
    int8: float
    fp32_bytes: int
    int8_bytes: int

    @property
    def lost_by_int8(self) -> float:
        return self.fp32 - self.int8

    def rows(self) -> list[tuple[str, ...]]:
        return [
            (f"{self.image_size}x{self.image_size}, fp32", self._percent(self.fp32), f"{self.fp32_bytes:,}"),
            (f"{self.image_size}x{self.image_size}, int8", self._percent(self.int8), f"{self.int8_bytes:,}"),
        ]

    def figures(self) -> dict[str, Any]:
        return asdict(self) | {"fp32_se": self._error(self.fp32), "int8_se": self._error(self.int8)}

    def _percent(self, share: float) -> str:
        return f"{share:.2%} +- {self._error(share):.2%}"

    def _error(self, share: float) -> float:
        return math.sqrt(share * (1 - share) / self.images)


def full_accuracy(judge: Judge, size: int) -> FullAccuracy:
    """`size` is the index of the image size; int8 is calibrated with the supernet's own pictures."""
    genotype: Genotype = judge.spec.genotype((size, *judge.spec.most_genes[1:]))
    pair = genotype, judge.everything
    right = judge.right([pair])[pair]
    right_of_file, artifact = judge.right_of_file(*pair)
    assert artifact.reference is not None
    return FullAccuracy(
        image_size=judge.spec.image_sizes[size],
        images=len(right),
        fp32=float(right.mean()),
        int8=float(right_of_file.mean()),
        fp32_bytes=artifact.reference.size_bytes,
        int8_bytes=artifact.size_bytes,
    )
