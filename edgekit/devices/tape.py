"""Writes down the operators of a network by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgekit.core.operators import Operator, OperatorKind, Tensor


@dataclass(kw_only=True, slots=True)
class Tape:
    """Appends operators one after the other, with SAME padding.

    The state is the current feature map, `resolution` x `resolution` x `channels`; to branch, set `current` back.
    """

    resolution: int
    channels: int = 3
    operators: list[Operator] = field(default_factory=list)
    current: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.current = Tensor(name="input", elements=self.resolution**2 * self.channels)

    def conv(self, channels: int, *, kernel: int = 1, stride: int = 1) -> None:
        weights = kernel**2 * self.channels * channels
        self._filter(OperatorKind.CONV, channels, weights=weights, kernel=kernel, stride=stride)

    def depthwise(self, *, stride: int) -> None:
        self._filter(OperatorKind.DEPTHWISE, self.channels, weights=9 * self.channels, kernel=3, stride=stride)

    def add(self, shortcut: Tensor) -> None:
        self._append(OperatorKind.ADD, (shortcut, self.current), self.current.elements)

    def pool(self, *, kernel: int, stride: int = 1) -> None:
        self.resolution = -(-self.resolution // stride)
        elements = self.resolution**2 * self.channels
        self._append(OperatorKind.POOL, (self.current,), elements, kernel=kernel, stride=stride)

    def mean(self) -> None:
        """Over all positions."""
        self.pool(kernel=self.resolution, stride=self.resolution)

    def softmax(self) -> None:
        self._append(OperatorKind.OTHER, (self.current,), self.channels)

    def _filter(self, kind: OperatorKind, channels: int, *, weights: int, kernel: int, stride: int) -> None:
        self.resolution = -(-self.resolution // stride)
        self.channels = channels
        positions = self.resolution**2
        self._append(
            kind,
            (self.current,),
            positions * channels,
            macs=positions * weights,
            weights=weights,
            biases=channels,
            kernel=kernel,
            stride=stride,
        )

    def _append(
        self,
        kind: OperatorKind,
        inputs: tuple[Tensor, ...],
        elements: int,
        *,
        macs: int = 0,
        weights: int = 0,
        biases: int = 0,
        kernel: int = 1,
        stride: int = 1,
    ) -> None:
        name = f"{kind}_{len(self.operators)}"
        self.current = Tensor(name=name, elements=elements)
        self.operators.append(
            Operator(
                name=name,
                kind=kind,
                inputs=inputs,
                output=self.current,
                macs=macs,
                weights=weights,
                biases=biases,
                channels=self.channels,
                kernel=kernel,
                stride=stride,
            )
        )
