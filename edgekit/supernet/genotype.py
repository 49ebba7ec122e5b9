"""Which bricks of which block stay open, and at which image size, as one short printable string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class Genotype:
    """One bit mask a block, bit m for brick m. `Genotype.parse(str(g)) == g`; e.g. `ff.07.00.01`, or `ff.07.00.01@32`.

    `image_size` is None at the supernet's own, largest size. Raises ValueError for a negative mask or a size below 1.
    """

    masks: tuple[int, ...]
    image_size: int | None = None

    def __post_init__(self) -> None:
        if any(mask < 0 for mask in self.masks) or (self.image_size is not None and self.image_size < 1):
            raise ValueError(f"masks {self.masks} are not all from 0, or image size {self.image_size} is not from 1")

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """Raises UsageError for anything but the canonical form."""
        try:
            masks, at, size = text.partition("@")
            genotype = cls(tuple(int(mask, 16) for mask in masks.split(".")), int(size) if at else None)
        except ValueError as error:
            raise UsageError(
                f'"{text}" is not a genotype',
                hint="give one hexadecimal mask for each block, such as ff.07.00.01 or ff.07.00.01@32",
            ) from error
        if str(genotype) != text:
            raise UsageError(f'"{text}" is not a genotype in its canonical form', hint=f'did you mean "{genotype}"?')
        return genotype

    @classmethod
    def prefix(cls, counts: Sequence[int], image_size: int | None = None) -> Genotype:
        """The first `counts[b]` bricks of every block."""
        return cls(tuple((1 << count) - 1 for count in counts), image_size)

    def __str__(self) -> str:
        masks = ".".join(f"{mask:02x}" for mask in self.masks)
        return masks if self.image_size is None else f"{masks}@{self.image_size}"

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(mask.bit_count() for mask in self.masks)

    def open_bricks(self, block: int) -> tuple[int, ...]:
        mask = self.masks[block]
        return tuple(brick for brick in range(mask.bit_length()) if mask >> brick & 1)
