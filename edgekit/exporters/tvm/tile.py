"""How a kernel is cut: the part of its output that is kept in registers, and the rows that are padded together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import prod
from typing import Any, Literal

from edgekit.exporters.tvm.cpu import Cpu

Kind = Literal["convolution", "depthwise", "dense"]

# A worker thread costs microseconds to wake.
_PARALLEL_MACS = 200_000
_SPARE_REGISTERS = 4
# Of a depthwise convolution, whose taps are unrolled as well.
_DEPTHWISE_PIXELS = 8
_PADDED_ROWS = (8, 16, 4)
_DENSE_VECTORS = 8
_FLOAT_STEPS, _INTEGER_STEPS = 4, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One product of activations and constant weights; what follows it element by element is computed with it.

    The input is `height` x `width` x `channels` (a dense layer: 1 x 1), the output `out_height` x `out_width` x `out_channels`.
    `padding` is top, left, bottom, right. `precision` is "float32", "float16", or "int8" for integers that are added up in int32.
    """

    kind: Kind
    precision: Literal["float32", "float16", "int8"]
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Workload:
        """Of what `dataclasses.asdict` made of one. Raises KeyError, TypeError or ValueError."""
        facts = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
        return cls(**facts)  # type: ignore[arg-type]

    @property
    def macs(self) -> int:
        terms = prod(self.kernel) * (1 if self.kind == "depthwise" else self.channels)
        return self.out_height * self.out_width * self.out_channels * terms

    @property
    def key(self) -> str:
        """One printable string for each workload, the key of databases."""
        parts = (
            *(self.kind, self.precision, f"{self.height}x{self.width}x{self.channels}"),
            f"{self.out_height}x{self.out_width}x{self.out_channels}",
            *("x".join(map(str, values)) for values in (self.kernel, self.stride, self.dilation, self.padding)),
        )
        return " ".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """`height` x `width` pixels of `channels` channels are added up in registers at once, `steps` terms of each in one turn of
    the loop; `rows` of pixels are padded together.

    With `channels_first` all pixels are computed before the next channels are; `parallel` shares the outermost loop among threads.
    `channels` is also how weights are packed.
    """

    height: int
    width: int
    channels: int
    steps: int
    rows: int
    channels_first: bool
    parallel: bool

    def to_json(self) -> dict[str, int | bool]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Any) -> Tile:
        """Raises TypeError, ValueError or LookupError for what `to_json` did not write."""
        lengths = {name: int(record[name]) for name in ("height", "width", "channels", "steps", "rows")}
        switches = {name: bool(record[name]) for name in ("channels_first", "parallel")}
        if min(lengths.values()) < 1:
            raise ValueError(f"a tile has positive lengths, not {lengths}")
        return cls(**lengths, **switches)  # type: ignore[arg-type]


def vector_length(kind: str, precision: str, cpu: Cpu) -> int:
    """Sums that are computed at once. Halves have 16 bits, and products of bytes that no instruction adds up: twice as many."""
    has_16_bits = precision == "float16" or (kind == "depthwise" and precision == "int8")
    return cpu.lanes * (2 if has_16_bits else 1)


def default_tile(workload: Workload, cpu: Cpu) -> Tile:
    """The one to take where nothing was measured: as many sums as registers hold, in two vectors of channels."""
    if workload.kind == "dense":
        vectors = min(_DENSE_VECTORS, _vectors(workload, cpu))
        return _tile(workload, cpu, vectors, pixels=1)
    if workload.kind == "depthwise":
        return _tile(workload, cpu, 1, pixels=_DEPTHWISE_PIXELS)
    vectors = min(2, _vectors(workload, cpu))
    return _tile(workload, cpu, vectors, pixels=(cpu.registers - _SPARE_REGISTERS) // vectors)


def tiles(workload: Workload, cpu: Cpu) -> Iterator[Tile]:
    """Those worth trying, the default first; no two are alike."""
    seen: set[Tile] = set()
    first = default_tile(workload, cpu)
    vectors = {"convolution": (1, 2, 3, 4), "depthwise": (1, 2), "dense": (1, 2, 4, 8)}[workload.kind]
    pixels = (1,) if workload.kind == "dense" else (4, 6, 8, 14, 28)
    for each in (first, *_variations(workload, cpu, vectors, pixels)):
        if each not in seen:
            seen.add(each)
            yield each


def _variations(workload: Workload, cpu: Cpu, vectors: Sequence[int], pixels: Sequence[int]) -> Iterator[Tile]:
    """First what differs most: the sums in registers; then in what order, and how much is padded or computed in one turn."""
    steps = (0,) if workload.kind == "depthwise" else (0, 1, 2, 8)
    for together, rows, channels_first in product(steps, _PADDED_ROWS, (True, False)):
        for count, most in product(vectors, pixels):
            fits = count * most <= cpu.registers - _SPARE_REGISTERS or workload.kind == "depthwise"
            if fits and count <= _vectors(workload, cpu):
                yield _tile(workload, cpu, count, pixels=most, rows=rows, steps=together, channels_first=channels_first)


def _tile(
    workload: Workload,
    cpu: Cpu,
    vectors: int,
    *,
    pixels: int,
    rows: int = _PADDED_ROWS[0],
    steps: int = 0,
    channels_first: bool | None = None,
) -> Tile:
    width = _divisor(workload.out_width, pixels)
    height = _divisor(workload.out_height, max(1, pixels // width))
    tiles_down = workload.out_height // height
    if channels_first is None:
        # What is read again and again should be the smaller: the input for each block of channels, or all weights for each row.
        weights = prod(workload.kernel) * workload.out_channels
        channels_first = workload.kind == "depthwise" or weights > workload.height * workload.width
    return Tile(
        height=height,
        width=width,
        steps=steps or (_INTEGER_STEPS if workload.precision == "int8" else _FLOAT_STEPS),
        channels=vectors * vector_length(workload.kind, workload.precision, cpu),
        rows=height * _divisor(tiles_down, max(1, rows // height)),
        channels_first=channels_first,
        parallel=workload.macs >= _PARALLEL_MACS,
    )


def _divisor(length: int, most: int) -> int:
    return max(each for each in range(1, max(1, min(length, most)) + 1) if length % each == 0)


def _vectors(workload: Workload, cpu: Cpu) -> int:
    """That hold all output channels."""
    return -(-workload.out_channels // vector_length(workload.kind, workload.precision, cpu))
